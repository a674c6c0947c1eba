import type { Node } from '../graph.ts';
import { heapFor, type PassFunction } from './assembler.ts';
import type { Group } from './tail.ts';

/** Memory for one array of a group, with a view on each leaf. */
interface Block {
  address: number;
  views: readonly Float32Array[];
  /** The values that lie here now, as nodes. Their tensors may be gone. */
  nodes: (Node | null)[];
}

/** A value that a call is given. */
export interface Given {
  data: Float32Array;
  /** Whether nothing but this call uses it, so that new values may be written over it. */
  isLast: boolean;
}

/** The memory of all heaps. */
const heapBuffers = new WeakSet<ArrayBufferLike>();

/** Whether an array lies in a heap. */
export const isInHeap = (data: { buffer: ArrayBufferLike }): boolean => heapBuffers.has(data.buffer);

/** Whether nothing but the call that is given this value can use it. */
const isFree = ({ owners, shared }: Node): boolean => owners <= 0 && !shared;

/**
 * The arrays of all groups of a graph, in one WebAssembly memory of fixed size. (A memory that grows would take its old views away.) Blocks
 * for old values hold the state of a training from one call to the next; blocks for computed values are written by each call.
 */
export class Heap {
  private readonly groups: readonly Group[];
  private readonly passes: readonly PassFunction[];
  private readonly old: readonly (readonly Block[])[];
  private readonly computed: readonly (readonly Block[])[];
  private readonly blockOf = new Map<Float32Array, Block>();

  constructor(groups: readonly Group[], module: WebAssembly.Module) {
    this.groups = groups;
    const { buffer, pass } = heapFor(module, Heap.bytes(groups));
    heapBuffers.add(buffer);
    this.passes = groups.map((_, k) => pass(k));
    let top = 0;
    const block = ({ parts, length }: Group): Block => {
      const address = top;
      top += 4 * length;
      const views = parts.map(({ at, size }) => new Float32Array(buffer, address + 4 * at, size));
      return { address, views, nodes: views.map(() => null) };
    };
    this.old = groups.map((group) => group.old.map(() => block(group)));
    this.computed = groups.map((group) => group.computed.map(() => block(group)));
    for (const made of this.old.flat()) this.blockOf.set(made.views[0]!, made);
  }

  static bytes(groups: readonly Group[]): number {
    return groups.reduce((sum, { old, computed, length }) => sum + 4 * length * (old.length + computed.length), 0);
  }

  /** Whether the first leaf of an array lies in this heap. */
  holds({ data }: Given): boolean {
    return this.blockOf.has(data);
  }

  /** Views into which the session writes what the groups read, for each group, array and leaf. */
  get fetched(): readonly (readonly (readonly Float32Array[])[])[] {
    return this.computed.map((blocks) => blocks.map(({ views }) => views));
  }

  /**
   * The blocks for the old values of a call: those where they lie, if nothing else uses them, or free ones into which they have to be copied. Null
   * if there are not enough free ones.
   *
   * @param given the old values of each group, array and leaf
   */
  place(
    given: readonly (readonly (readonly Given[])[])[],
  ): { blocks: Block[][]; copies: { view: Float32Array; data: Float32Array }[] } | null {
    const copies: { view: Float32Array; data: Float32Array }[] = [];
    const blocks: Block[][] = [];
    for (const [k, arrays] of given.entries()) {
      const own = this.old[k]!;
      const used = new Set<Block>();
      const chosen = arrays.map((leaves): Block | undefined => {
        const block = this.blockOf.get(leaves[0]!.data);
        if (block === undefined || used.has(block) || !own.includes(block)) return undefined;
        if (!leaves.every(({ data, isLast }, i) => isLast && data === block.views[i])) return undefined;
        used.add(block);
        return block;
      });
      for (const [i, leaves] of arrays.entries()) {
        if (chosen[i] !== undefined) continue;
        const free = own.find((block) => !used.has(block) && block.nodes.every((node) => node === null || isFree(node)));
        if (free === undefined) return null;
        used.add(free);
        chosen[i] = free;
        leaves.forEach(({ data }, leaf) => copies.push({ view: free.views[leaf]!, data }));
      }
      blocks.push(chosen as Block[]);
    }
    return { blocks, copies };
  }

  /** Runs the pass of each group over its blocks. `scalars` has the scalars of each group. */
  run(blocks: readonly (readonly Block[])[], scalars: readonly (readonly number[])[]): void {
    this.groups.forEach(({ length }, k) => {
      const addresses = [...blocks[k]!, ...this.computed[k]!].map(({ address }) => address);
      this.passes[k]!(...addresses, ...scalars[k]!, 4 * length);
    });
  }
}

export type { Block };
