import { freeNow } from './free-memory.ts';
import { isInHeap } from './fused/heap.ts';
import { emptyArray, type Node } from './graph.ts';
import type { HostArray, OnnxType } from './onnx.ts';

/** How many bytes of donated tensors are kept for later results. */
const MAX_POOLED_BYTES = 2 ** 29;
/**
 * Arrays of tensors that were only disposed are kept while the pool has fewer bytes than this. The program may never need that size again,
 * so this limit is lower.
 */
const MAX_SPARE_BYTES = 2 ** 26;
/** Smaller arrays of disposed tensors are not kept: the system gives small memory quickly, without a page fault for each 4 KiB. */
const MIN_SPARE_BYTES = 2 ** 16;

/** Sizes of which it is known how many arrays were missing, and arrays of one size that count as missing, at most. */
const [MAX_SIZES, MAX_MISSING] = [4096, 4096];

/**
 * Arrays of donated and disposed tensors, kept by type and size, for the next batch and for the results of the next call. A new array costs
 * time, because the system maps its pages one by one when they are first written. Above the limit, the sizes that were not used for the
 * longest time are released first.
 *
 * Some of these tensors were computed, so their arrays do not come from here. If they were all kept, every step of a training could leave one
 * more. So no more arrays of a size are kept than were ever missing.
 */
export class BufferPool {
  private free = new Map<string, HostArray[]>();
  /** How often there was no array of a size, up to a limit. */
  private readonly missing = new Map<string, number>();
  private bytes = 0;

  /** An array for new values, with any content. */
  take(dtype: OnnxType, size: number): HostArray {
    return this.find(dtype, size) ?? emptyArray(dtype, size);
  }

  /** An array that was kept, or undefined. */
  find(dtype: OnnxType, size: number): HostArray | undefined {
    const key = `${dtype}${size}`;
    const list = this.free.get(key);
    const found = list?.pop();
    if (list === undefined || found === undefined) {
      if (this.missing.size >= MAX_SIZES) this.missing.clear();
      this.missing.set(key, Math.min(MAX_MISSING, (this.missing.get(key) ?? 0) + 1));
      return undefined;
    }
    this.free.delete(key);
    if (list.length > 0) this.free.set(key, list);
    this.bytes -= found.byteLength;
    return found;
  }

  /** Keeps the memory of a donated tensor for later values, if nothing else uses it. */
  recycle(node: Node): void {
    if (!isSpent(node)) return;
    // The memory now belongs to another value, so it must not be given a second time.
    node.shared = true;
    this.give(node.dtype, node.data);
  }

  /** Keeps the memory of a tensor that was only disposed, if it is worth it and nothing else uses it. */
  recycleSpare(node: Node): void {
    if (node.data === undefined || node.data.byteLength < MIN_SPARE_BYTES) return;
    if (this.bytes + node.data.byteLength <= MAX_SPARE_BYTES) this.recycle(node);
  }

  /** Frees the memory of a donated tensor, if nothing else uses it. */
  release(node: Node): void {
    if (!isSpent(node)) return;
    node.shared = true;
    freeNow([node.data]);
  }

  /** Keeps an array, or frees it if there are enough of its size. */
  give(dtype: OnnxType, data: HostArray): void {
    const key = `${dtype}${data.length}`;
    const list = this.free.get(key) ?? [];
    if (list.length >= (this.missing.get(key) ?? 0)) {
      freeNow([data]);
      return;
    }
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

/** Whether nothing uses the memory of a node any more. A heap hands out its memory itself. */
const isSpent = (node: Node): node is Node & { data: HostArray } =>
  node.op === 'Leaf' && node.owners === 0 && !node.shared && node.data !== undefined && !isInHeap(node.data);
