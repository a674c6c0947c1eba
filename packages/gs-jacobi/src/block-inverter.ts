import { checkNumber, compile, type Compiled, dims, type Tensor, tf, type Tree } from '@atelier/tensor';
import {
  checkLabelRange,
  checkLabels,
  checkModel,
  guidanceWeights,
  permute,
  readGuidance,
  reverseBlock,
  tokenSizes,
  type BlockParams,
  type Guidance,
  type GuidanceOptions,
  type TarFlow,
  type TarFlowConfig,
} from '@atelier/tarflow';
import type { CausalProblem } from './causal-map.ts';
import { compileCausalMap, type CompiledMap } from './compiled-map.ts';
import { solveExactly, type ExactReport } from './exact.ts';
import { solveGsJacobi, type GsJacobiOptions } from './gs-jacobi.ts';
import type { BlockMeans } from './mean-guess.ts';
import type { Cost, SolveReport } from './solution.ts';
import type { BlockPlan, Guess } from './strategy.ts';
import { prepareBlock, tarflowMap, type BlockCache, type BlockInputs, type BlockSetting, type PreparedBlock } from './tarflow-map.ts';

/** How blocks are inverted, besides their plans. The first five are for plans of GS-Jacobi. */
export type BlockOptions = Pick<GsJacobiOptions, 'tolerance' | 'clamp' | 'stopping' | 'cache' | 'fallback' | 'unroll'> & {
  /** Labels [B] int32 in -1 … N-1, -1 for none; none at all if absent. */
  y?: Tensor;
  guidance?: GuidanceOptions;
  /** Means of every block k = 0 … K - 1, for plans that start from `mean`. */
  means?: readonly BlockMeans[];
  /**
   * The released sampler to the letter: values clipped to [-3, 3], δ of the batch, the cache of the last evaluation, no way back from an
   * overflow, and only segments of one size. Its result is not the sequential one wherever that leaves [-3, 3].
   */
  official?: boolean;
  /** Looks on after each iteration; `x` [B, T, D] is in the block's own order and lent; `changes` come from plans of GS-Jacobi. */
  onIteration?: (state: { block: number; segment: number; iteration: number; x: Tensor; changes?: number[] }) => void;
};

/** What inverting one block took; token by token it is T - 1 evaluations. */
export type BlockReport = Cost & {
  block: number;
  plan: BlockPlan;
  /** Of `gs-jacobi`. */
  segments?: SolveReport['segments'];
  /** Of `exact`. */
  exact?: Pick<ExactReport, 'evaluations' | 'proof'>;
};

/** Inverts blocks of models of one configuration; its graphs, which all blocks share, live until `dispose`. */
export type BlockInverter = {
  /**
   * Block k from noise to data by a plan: z [B, T, D], the output of block k + 1, in image order -> x [B, T, D] likewise, which belongs to the
   * caller, as z does.
   */
  invert(model: TarFlow, at: { block: number; plan: BlockPlan; z: Tensor }, options?: BlockOptions): { x: Tensor; report: BlockReport };
  /** Checks what does not change from block to block. @throws Error in one sentence if something does not fit */
  check(model: TarFlow, z: Tensor, plans: ReadonlyMap<number, BlockPlan>, options: BlockOptions): void;
  readonly graphs: number;
  dispose(): void;
};

/** What `official` stands for. */
const OFFICIAL = { clamp: 3, stopping: 'batch', cache: 'stale', fallback: false } as const;

/** The graphs that invert blocks, made when they are first asked for. */
type InverterGraphs = {
  /** Φ of a block, with the attention temperature of the branch without labels. */
  map(temperature: number): CompiledMap<BlockParams, BlockInputs, BlockCache>;
  prepare(block: number, guess: Guess): Compiled<[given: GivenBlock & Tree], PreparedBlock & Tree>;
  sequential: Compiled<[params: BlockParams, prepared: PreparedBlock, guidance: Guidance[]], Tensor>;
  /** The order of tokens of an odd block, and back. */
  reorder: Compiled<[x: Tensor], Tensor>;
  readonly graphs: number;
  dispose(): void;
};
type GivenBlock = BlockSetting & { z: Tensor; means?: BlockMeans };

function inverterGraphs(config: TarFlowConfig): InverterGraphs {
  const maps = new Map<number, CompiledMap<BlockParams, BlockInputs, BlockCache>>();
  const prepares = new Map<string, ReturnType<InverterGraphs['prepare']>>();
  const kept = <K, V>(made: Map<K, V>, key: K, make: () => V): V => {
    const value = made.get(key) ?? make();
    made.set(key, value);
    return value;
  };
  const sequential: InverterGraphs['sequential'] = compile(
    (p, { z, inputs }, guidance) => reverseBlock(p, z, config, { context: inputs.context, ...(guidance[0] && { guidance: guidance[0] }) }),
    { name: 'tarflow-sequential', idle: 'sleep' },
  );
  const reorder = compile((x: Tensor) => permute(x, 1), { donate: [0], name: 'reverse-order', idle: 'sleep' });
  const all = (): { graphs: number; dispose(): void }[] => [...maps.values(), ...prepares.values(), sequential, reorder];
  return {
    map: (temperature) => kept(maps, temperature, () => compileCausalMap(tarflowMap(config, temperature))),
    prepare: (block, guess) =>
      kept(prepares, `${block % 2} ${guess}`, () =>
        compile((given: GivenBlock & Tree) => prepareBlock(block, guess, given) as PreparedBlock & Tree, {
          name: 'prepare',
          idle: 'sleep',
        }),
      ),
    sequential,
    reorder,
    get graphs() {
      return all().reduce((sum, one) => sum + one.graphs, 0);
    },
    dispose() {
      for (const graph of all()) graph.dispose();
    },
  };
}

/** A block with everything that a solver needs, in the block's own order of tokens. */
type ReadyBlock<P extends BlockPlan = BlockPlan> = {
  block: number;
  plan: P;
  params: BlockParams;
  prepared: PreparedBlock;
  /** With guidance: weights of α and μ [T - 1, 2]. */
  weights: Tensor | undefined;
  temperature: number;
};
type PlanOf<M extends BlockPlan['method']> = Extract<BlockPlan, { method: M }>;
type Solved = { x: Tensor; report: BlockReport };

function solveSequentially(graphs: InverterGraphs, { block, plan, params, prepared, weights, temperature }: ReadyBlock): Solved {
  const branches = prepared.inputs.guidance;
  const inverse = tf.scalar(1 / temperature);
  const guides = branches === undefined ? [] : [{ context: branches.context, weights: weights!, inverseTemperature: inverse }];
  const x = graphs.sequential(params, prepared, guides);
  inverse.dispose();
  const T = x.shape[1]!;
  return { x, report: { block, plan, depth: T - 1, work: (T - 1) / T } };
}

function solveWithProof(graphs: InverterGraphs, ready: ReadyBlock<PlanOf<'exact'>>, { onIteration }: BlockOptions): Solved {
  const { block, plan, temperature } = ready;
  const { window, tolerance } = plan;
  const { x, report } = solveExactly(graphs.map(temperature), problemOf(ready), {
    window,
    ...(tolerance !== undefined && { tolerance }),
    ...(onIteration && { onIteration: (state) => onIteration({ block, segment: 0, ...state }) }),
  });
  const { depth, work, ...exact } = report;
  return { x, report: { block, plan, depth, work, exact } };
}

function solveByIteration(graphs: InverterGraphs, ready: ReadyBlock<PlanOf<'gs-jacobi'>>, options: BlockOptions): Solved {
  const { block, plan, temperature } = ready;
  const { y: _y, guidance: _guidance, means: _means, official = false, onIteration, ...own } = options;
  const { segments, iterations, largestChange, tolerance = own.tolerance } = plan;
  const { x, report } = solveGsJacobi(graphs.map(temperature), problemOf(ready), {
    ...own,
    ...(official && OFFICIAL),
    segments,
    iterations,
    ...(tolerance !== undefined && { tolerance }),
    ...(largestChange !== undefined && { largestChange }),
    ...(onIteration && { onIteration: (state) => onIteration({ block, ...state }) }),
  });
  return { x, report: { block, plan, ...report } };
}

const problemOf = ({ params, prepared: { inputs, guess } }: ReadyBlock): CausalProblem<BlockParams, BlockInputs> => ({
  params,
  inputs,
  guess,
});

function solve(graphs: InverterGraphs, ready: ReadyBlock, options: BlockOptions): Solved {
  const { plan } = ready;
  if (plan.method === 'sequential') return solveSequentially(graphs, ready);
  return plan.method === 'exact'
    ? solveWithProof(graphs, { ...ready, plan }, options)
    : solveByIteration(graphs, { ...ready, plan }, options);
}

/** @param where the public function that errors name */
export function blockInverter(config: TarFlowConfig, where = 'blockInverter'): BlockInverter {
  const { T, D } = tokenSizes(config);
  const graphs = inverterGraphs(config);

  const invert: BlockInverter['invert'] = (model, { block, plan, z }, options = {}) => {
    const { y, means } = options;
    const guidance = readGuidance(options.guidance, where);
    const weights = guidance === null ? undefined : guidanceWeights(guidance, T);
    const temperature = guidance?.temperature ?? 1;
    const params = model.blocks[block]!;
    const guess = plan.method === 'sequential' ? 'z' : plan.guess;
    const given = { params, z, ...(y && { y }), ...(weights && { weights }), ...(guess === 'mean' && { means: means![block]! }) };
    const prepared = graphs.prepare(block, guess)(given);
    try {
      const { x, report } = solve(graphs, { block, plan, params, prepared, weights, temperature }, options);
      return { x: block % 2 === 0 ? x : graphs.reorder(x), report };
    } finally {
      graphs.map(temperature).release(prepared);
      weights?.dispose();
    }
  };

  return {
    invert,
    check(model, z, plans, { y, guidance, means, official = false }) {
      checkModel(model, config, where);
      const { B } = dims<'B'>(z, 'B T D', `${where}: noise`, { T, D });
      checkLabels(y, B, config, where);
      checkLabelRange(y, config, where);
      readGuidance(guidance, where);
      for (const [at, plan] of plans) {
        if (official) checkOfficial(plan, T, `${where}: strategy: block ${at}`);
        if (plan.method !== 'sequential' && plan.guess === 'mean') checkMeans(means?.[at], at, { T, D }, where);
      }
    },
    get graphs() {
      return graphs.graphs;
    },
    dispose: () => graphs.dispose(),
  };
}

/** The released code leaves tokens unsolved, without a word, where segments do not divide them (GS_Jacobi_sampling.py:374-379). */
function checkOfficial(plan: BlockPlan, tokens: number, where: string): void {
  if (plan.method === 'sequential') return;
  if (plan.method === 'exact') throw new Error(`${where}: wanted 'sequential' or 'gs-jacobi' in the official mode, got 'exact'`);
  if (plan.guess === 'mean') throw new Error(`${where}: guess: wanted 'z' or 'zero' in the official mode, got 'mean'`);
  if (plan.largestChange !== undefined) throw new Error(`${where}: largestChange: wanted none in the official mode, which clips`);
  if (typeof plan.segments !== 'number')
    throw new Error(`${where}: segments: wanted a number in the official mode, got [${plan.segments.join(', ')}]`);
  checkNumber(`${where}: segments`, plan.segments, { integer: true, min: 1, max: tokens / 2 });
  if (tokens % plan.segments !== 0)
    throw new Error(`${where}: segments: wanted a divisor of ${tokens} tokens in the official mode, got ${plan.segments}`);
}

function checkMeans(means: BlockMeans | undefined, block: number, sizes: { T: number; D: number }, where: string): void {
  if (means === undefined) throw new Error(`${where}: means: wanted some for block ${block}, which starts from them, got none`);
  for (const name of ['alpha', 'mu'] as const) dims(means[name], 'T D', `${where}: means: ${block}.${name}`, sizes);
}
