import { isInHeap } from './fused/heap.ts';
import type { HostArray, OnnxType } from './onnx.ts';

/** How many bytes of donated tensors are kept for later results. */
const MAX_POOLED_BYTES = 2 ** 29;

/**
 * Arrays of donated tensors, kept by type and size, for the next batch and for the results of the next call. Above the limit, the sizes
 * that were not used for the longest time are released first.
 *
 * Some donated tensors were computed, so their arrays do not come from here. If they were all kept, every step of a training could leave one
 * more. So no more arrays of a size are kept than were ever missing.
 */
export class BufferPool {
  private free = new Map<string, HostArray[]>();
  /** How often there was no array of a size. */
  private readonly missing = new Map<string, number>();
  private bytes = 0;

  take(dtype: OnnxType, size: number): HostArray | undefined {
    const key = `${dtype}${size}`;
    const list = this.free.get(key);
    const found = list?.pop();
    if (list === undefined || found === undefined) {
      this.missing.set(key, (this.missing.get(key) ?? 0) + 1);
      return undefined;
    }
    this.free.delete(key);
    if (list.length > 0) this.free.set(key, list);
    this.bytes -= found.byteLength;
    return found;
  }

  give(dtype: OnnxType, data: HostArray): void {
    // A heap hands out its memory itself.
    if (isInHeap(data)) return;
    const key = `${dtype}${data.length}`;
    const list = this.free.get(key) ?? [];
    if (list.length >= (this.missing.get(key) ?? 0)) return;
    list.push(data);
    this.free.set(key, list);
    this.bytes += data.byteLength;
    for (const [oldest, arrays] of this.free) {
      if (this.bytes <= MAX_POOLED_BYTES) break;
      for (const array of arrays) this.bytes -= array.byteLength;
      this.free.delete(oldest);
    }
  }

  clear(): void {
    this.free.clear();
    this.missing.clear();
    this.bytes = 0;
  }
}
