import type { OrtBackend } from '../backend.ts';
import { sizeOf, type Node } from '../graph.ts';
import { feedsOfCall, lower, nameOf, topological } from '../lower.ts';
import { hostValue, type HostValue, type SessionOptions } from '../runtime.ts';
import { PooledSession } from '../thread-pools.ts';
import { hasLanes, MAX_BYTES, moduleOf } from './assembler.ts';
import { Heap, type Given } from './heap.ts';
import { tailOf, type Group } from './tail.ts';

/** States that take turns in one graph have a heap each, up to this many. */
const MAX_HEAPS = 2;
/** After this many calls that were not done in place, or only after copies, in place is given up if they are most calls. */
const MANY = 8;
/** With more threads, ONNX Runtime passes over large arrays as fast as one thread does all at once. */
const MANY_THREADS = 8;
/** Arrays of this many elements in all do not fit into a cache. */
const LARGE = 2 ** 20;

type Placed = { heap: Heap; inner: Record<string, HostValue> } & NonNullable<ReturnType<Heap['place']>>;

/** Whether the machine and the settings allow passes in place. */
const isAllowed = ({ device }: SessionOptions): boolean => device === 'cpu' && process.env.ATELIER_FUSED !== 'off' && hasLanes();

/**
 * A graph whose end replaces state in place: ONNX Runtime runs all the rest, and then each group of the end is one pass over memory. It gives
 * the same bits as the whole graph, because each operator of a pass is fixed by IEEE 754.
 */
export class OnePass {
  private readonly groups: readonly Group[];
  private readonly module: WebAssembly.Module;
  private readonly order: readonly Node[];
  private readonly outputs: readonly Node[];
  private readonly name: string;
  private readonly argumentOf: ReadonlyMap<Node, number>;
  private readonly names: ReadonlyMap<Node, string>;
  private readonly session: PooledSession | null;
  /** What the session computes: results of the graph, with their names, and values that only the groups read. */
  private readonly returned: readonly { node: Node; name: string; size: number }[];
  private readonly inner: readonly Node[];
  private readonly fed: readonly { node: Node; name: string; argument: number }[];
  private readonly state: readonly (readonly (readonly number[])[])[];
  private readonly stateArguments: ReadonlySet<number>;
  private readonly heaps: { heap: Heap; fetches: Record<string, HostValue> }[] = [];
  private calls = 0;
  /** Calls that were not done in place, or only after copies. */
  private costly = 0;
  private isOver = false;

  private constructor(
    groups: readonly Group[],
    results: readonly Node[],
    argumentNodes: readonly Node[],
    name: string,
    options: SessionOptions,
  ) {
    this.groups = groups;
    this.name = name;
    this.module = moduleOf(groups.map(({ pass }) => pass));
    this.argumentOf = new Map(argumentNodes.map((node, i) => [node, i]));
    const replaced = new Set(groups.flatMap((group) => group.results.flat()).filter((node) => node !== null));
    const needed = [...results, ...groups.flatMap(({ computed, scalars }) => [...computed.flat(), ...scalars])];
    this.outputs = [...new Set(needed)].filter((node) => node.data === undefined && node.op !== 'Input' && !replaced.has(node));
    this.order = topological(this.outputs);
    this.names = new Map(this.order.map((node, position) => [node, nameOf(position)]));
    const wanted = new Set(results);
    const named = this.outputs.map((node) => ({ node, name: this.names.get(node)!, size: sizeOf(node.shape) }));
    this.returned = named.filter(({ node }) => wanted.has(node));
    this.inner = this.outputs.filter((node) => !wanted.has(node));
    this.fed = argumentNodes.flatMap((node, argument) => (this.names.has(node) ? [{ node, name: this.names.get(node)!, argument }] : []));
    this.state = groups.map(({ old }) => old.map((leaves) => leaves.map((leaf) => this.argumentOf.get(leaf)!)));
    this.stateArguments = new Set(this.state.flat(2));
    this.session = this.outputs.length === 0 ? null : new PooledSession(options);
    this.session?.open(this.model);
  }

  /** The graph in this form, or null if its end does not replace donated arguments, or the whole graph is as fast. */
  static of(
    graph: { order: readonly Node[]; results: readonly Node[]; argumentNodes: readonly Node[]; donated: readonly boolean[]; name: string },
    options: SessionOptions,
  ): OnePass | null {
    const { order, results, argumentNodes, donated, name } = graph;
    if (!isAllowed(options)) return null;
    const groups = tailOf(order, results, new Set(argumentNodes.filter((_, i) => donated[i])));
    const bytes = Heap.bytes(groups);
    if (groups.length === 0 || bytes > MAX_BYTES || (options.threads > MANY_THREADS && bytes > 4 * LARGE)) return null;
    return new OnePass(groups, results, argumentNodes, name, options);
  }

  readonly model = (): Uint8Array => lower(this.order, this.outputs, this.name, feedsOfCall);

  /** Feeds and fetches of the session for a profile. They are not the state of any call. */
  ports(given: readonly Given[], backend: OrtBackend): { feeds: Record<string, HostValue>; fetches: Record<string, HostValue> } {
    return { feeds: this.feeds(given), fetches: this.fetches(backend, this.innerValues()) };
  }

  /** Milliseconds of all passes in each of some runs, on a heap of their own. */
  time(runs: number): number {
    const heap = this.newHeap();
    if (heap === null) return 0;
    const given = this.groups.map(({ old, parts }) =>
      old.map(() => parts.map(({ size }) => ({ data: new Float32Array(size), isLast: true }))),
    );
    const { blocks } = heap.place(given)!;
    const scalars = this.groups.map((group) => group.scalars.map(() => 0.5));
    heap.run(blocks, scalars);
    const start = performance.now();
    for (let i = 0; i < runs; i++) heap.run(blocks, scalars);
    return (performance.now() - start) / runs;
  }

  /** Whether an argument is state that calls replace in place. */
  isState(argument: number): boolean {
    return this.stateArguments.has(argument);
  }

  get passes(): number {
    return this.groups.length;
  }

  /**
   * The results of a call by node, with the replaced ones in the memory of the arguments. Null if this call cannot be done in place. Then nothing has
   * happened.
   *
   * @param given the arguments
   */
  run(backend: OrtBackend, given: readonly Given[]): Map<Node, Node> | null {
    if (this.costly > MANY && 2 * this.costly > this.calls) this.dispose();
    if (this.isOver) return null;
    const placed = this.place(this.state.map((arrays) => arrays.map((leaves) => leaves.map((i) => given[i]!))));
    this.calls++;
    if (placed === null || placed.copies.length > 0) this.costly++;
    if (placed === null) return null;
    const { heap, inner, blocks, copies } = placed;

    const fetches = this.fetches(backend, inner);
    this.session?.run(this.feeds(given), fetches, this.model);
    for (const { view, data } of copies) view.set(data);
    heap.run(
      blocks,
      this.groups.map(({ scalars }) => scalars.map((node) => this.scalar(node, given, fetches))),
    );
    const made = new Map<Node, Node>();
    for (const { node, name } of this.returned) made.set(node, backend.graph.leaf(fetches[name]!.data, node.shape, node.dtype));
    this.groups.forEach(({ results }, k) =>
      results.forEach((leaves, i) => {
        const block = blocks[k]![i]!;
        block.nodes = leaves.map((node, leaf) => node && backend.graph.leaf(block.views[leaf]!, node.shape, node.dtype));
        leaves.forEach((node, leaf) => node && made.set(node, block.nodes[leaf]!));
      }),
    );
    return made;
  }

  /** A heap with room for the state of a call. The heap where this state lies is tried first. */
  private place(state: readonly (readonly (readonly Given[])[])[]): Placed | null {
    const first = state[0]![0]![0]!;
    const known = [...this.heaps].sort((a, b) => Number(b.heap.holds(first)) - Number(a.heap.holds(first)));
    for (const { heap, fetches } of known) {
      const placed = heap.place(state);
      if (placed !== null) return { heap, inner: fetches, ...placed };
    }
    if (this.heaps.length === MAX_HEAPS) return null;
    const heap = this.newHeap();
    if (heap === null) return null;
    const made = { heap, fetches: this.innerValues(heap) };
    this.heaps.push(made);
    return { heap, inner: made.fetches, ...heap.place(state)! };
  }

  /** Null if the system has no room for one. Then the whole graph runs. */
  private newHeap(): Heap | null {
    try {
      return new Heap(this.groups, this.module);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.dispose();
      return null;
    }
  }

  private feeds(given: readonly Given[]): Record<string, HostValue> {
    const feeds: Record<string, HostValue> = {};
    for (const { node, name, argument } of this.fed) feeds[name] = hostValue(node, given[argument]!.data);
    return feeds;
  }

  /** Where the session writes: results into free arrays, and all other values where the groups read them. */
  private fetches(backend: OrtBackend, inner: Record<string, HostValue>): Record<string, HostValue> {
    const fetches = { ...inner };
    for (const { node, name, size } of this.returned) fetches[name] = hostValue(node, backend.buffers.take(node.dtype, size));
    return fetches;
  }

  /** Arrays for what only the groups read: scalars, and views on a heap. Without a heap, arrays of their own. */
  private innerValues(heap?: Heap): Record<string, HostValue> {
    const views = new Map<Node, Float32Array>();
    heap?.fetched.forEach((arrays, k) =>
      arrays.forEach((leaves, i) => leaves.forEach((view, leaf) => views.set(this.groups[k]!.computed[i]![leaf]!, view))),
    );
    const valueOf = (node: Node): HostValue => hostValue(node, views.get(node) ?? new Float32Array(sizeOf(node.shape)));
    return Object.fromEntries(this.inner.map((node) => [this.names.get(node)!, valueOf(node)]));
  }

  private scalar(node: Node, given: readonly Given[], fetches: Record<string, HostValue>): number {
    if (node.data !== undefined) return Number(node.data[0]);
    if (node.op === 'Input') return given[this.argumentOf.get(node)!]!.data[0]!;
    return Number(fetches[this.names.get(node)!]!.data[0]);
  }

  dispose(): void {
    this.isOver = true;
    this.session?.dispose();
    this.heaps.length = 0;
  }
}
