import { compile, dims, tf, treeLeaves, type Compiled, type Tensor, type Tree } from '@atelier/tensor';
import type { CausalMap, CausalProblem } from './causal-map.ts';
import { compileIteration, type Fixed, type IterationOptions, type IterationStep } from './iteration.ts';
import { compileWindow, type WindowOptions, type WindowStep } from './speculation.ts';
import { appended, tokens, tokensOf } from './token-axis.ts';

/**
 * The graphs of a causal map. Each is made when it is first needed, and then kept: one per segment and one per window. A segment needs its own graph because
 * the length of its cache depends on its place. Parameters and inputs are arguments of the graphs, so all blocks of a flow share them.
 */
export type CompiledMap<P extends Tree, I extends Tree, C extends Tree> = {
  readonly map: CausalMap<P, I, C>;
  iteration(options: IterationOptions): IterationStep<P, I, C>;
  window(options: WindowOptions): WindowStep<P, I, C>;
  /** The cache of all tokens up to the end of a segment: the cache before the segment (which is consumed) and the segment's own. */
  append(past: C | undefined, own: C): C;
  /** Frees the memory of a tree that is no longer needed, for later results. */
  release(tree: Tree): void;
  /** max |X_t - Φ(X)_t| over the values of each token [B, T]; 0 for token 0. */
  residual: Compiled<[x: Tensor, fixed: Fixed<P, I, C>], Tensor>;
  /** Graphs made so far. */
  readonly graphs: number;
  /** Frees the sessions. */
  dispose(): void;
};

export function compileCausalMap<P extends Tree, I extends Tree, C extends Tree>(map: CausalMap<P, I, C>): CompiledMap<P, I, C> {
  if (!Number.isInteger(map.pastAxis) || map.pastAxis < 1)
    throw new Error(`compileCausalMap: pastAxis: wanted a whole number of at least 1, got ${map.pastAxis}`);
  const iterations = new Map<string, IterationStep<P, I, C>>();
  const windows = new Map<string, WindowStep<P, I, C>>();
  const kept = <V>(graphs: Map<string, V>, options: object, make: () => V): V => {
    const key = JSON.stringify(options);
    const graph = graphs.get(key) ?? make();
    graphs.set(key, graph);
    return graph;
  };
  const join = compile((past: C, own: C) => appended(past, own, map.pastAxis), { donate: [0, 1], name: 'append', idle: 'sleep' });
  const giveBack = compile((_: Tree): Tree => [], { donate: [0], name: 'release', idle: 'sleep' });
  const residual = compile(
    (x: Tensor, { params, inputs }: Fixed<P, I, C>) => {
      const [B, T] = x.shape as [number, number];
      if (T === 1) return tf.zeros([B, 1]);
      const { next } = map.next({ params, x: tokens(x, 0, T - 1), inputs: tokensOf(inputs, 0, T - 1) });
      const difference = tf.max(tf.abs(tf.sub(next, tokens(x, 1, T - 1))), 2); // [B, T-1, D] -> [B, T-1]
      return tf.concat([tf.zeros([B, 1]), difference], 1) as Tensor;
    },
    { name: 'residual', idle: 'sleep' },
  );
  const all = (): { graphs: number; dispose(): void }[] => [...iterations.values(), ...windows.values(), join, giveBack, residual];
  return {
    map,
    iteration: (options) => kept(iterations, options, () => compileIteration(map, options)),
    window: (options) => kept(windows, options, () => compileWindow(map, options)),
    append: (past, own) => (past === undefined ? own : join(past, own)),
    release: (tree) => void giveBack(tree),
    residual,
    get graphs() {
      return all().reduce((sum, graph) => sum + graph.graphs, 0);
    },
    dispose() {
      for (const graph of all()) graph.dispose();
      iterations.clear();
      windows.clear();
    },
  };
}

/** Sizes of a problem. @throws Error unless the guess is [B, T, D] and every input has T tokens and 1 or B rows */
export function problemSizes<P extends Tree, I extends Tree>(
  { inputs, guess }: CausalProblem<P, I>,
  where: string,
): { B: number; T: number; D: number } {
  const sizes = dims<'B' | 'T' | 'D'>(guess, 'B T D', `${where}: guess`);
  for (const leaf of treeLeaves(inputs)) {
    const [rows, T] = leaf.shape;
    if (leaf.rank < 2 || (rows !== 1 && rows !== sizes.B) || T !== sizes.T)
      throw new Error(`${where}: inputs: wanted leaves [1 or ${sizes.B}, ${sizes.T}, …], got [${leaf.shape.join(', ')}]`);
  }
  return sizes;
}
