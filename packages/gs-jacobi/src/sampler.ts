import { checkNumber, parseConfig } from '@atelier/nn';
import {
  checkLabelRange,
  checkLabels,
  checkModel,
  guidanceWarnings,
  guidanceWeights,
  permute,
  readGuidance,
  reverseBlock,
  tarflowConfig,
  tokenSizes,
  unpatchify,
  type BlockParams,
  type Guidance,
  type GuidanceOptions,
  type TarFlow,
  type TarFlowSettings,
} from '@atelier/tarflow';
import { compile, dims, tf, type Compiled, type Tensor, type Tree } from '@atelier/tensor';
import { compileCausalMap, type CompiledMap } from './compiled-map.ts';
import { solveExactly, type ExactReport } from './exact.ts';
import { solveGsJacobi, type GsJacobiOptions } from './gs-jacobi.ts';
import type { BlockMeans } from './mean-guess.ts';
import { totalCost, type Cost, type SolveReport } from './solution.ts';
import { readStrategy, type BlockPlan, type Guess, type StrategyOptions } from './strategy.ts';
import { prepareBlock, tarflowMap, type BlockCache, type BlockInputs, type BlockSetting, type PreparedBlock } from './tarflow-map.ts';

export type GsJacobiSampleOptions = Pick<GsJacobiOptions, 'tolerance' | 'clamp' | 'stopping' | 'cache' | 'fallback' | 'unroll'> & {
  /** A plan for every block in the order of sampling: entry i is block K - 1 - i. The options above are for plans of GS-Jacobi. */
  strategy: StrategyOptions;
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
  /** Looks at the output x [B, T, D] of every block, in image order, which is lent. */
  onBlock?: (state: { block: number; x: Tensor; report: BlockReport }) => void;
  /** Looks on after each iteration; `x` [B, T, D] is in the block's own order and lent. */
  onIteration?: (state: { block: number; segment: number; iteration: number; x: Tensor }) => void;
};

/** What inverting one block took. */
export type BlockReport = Cost & {
  block: number;
  plan: BlockPlan;
  /** Of `gs-jacobi`. */
  segments?: SolveReport['segments'];
  /** Of `exact`. */
  exact?: Pick<ExactReport, 'evaluations' | 'proof'>;
};

export type GsJacobiSample = {
  /** Images [B, H, W, C]; near [-1, 1], not clipped. */
  images: Tensor;
  /** In the order of sampling, and all together; a sequential block has depth T - 1. */
  report: Cost & { blocks: BlockReport[] };
  /** What the options asked for and could not have, in words. */
  warnings: string[];
};

/** Samples a model of fixed settings; its graphs live until `dispose`. */
export type GsJacobiSampler = {
  (model: TarFlow, noise: Tensor, options: GsJacobiSampleOptions): GsJacobiSample;
  /** Graphs made so far; all blocks share them. */
  readonly graphs: number;
  dispose(): void;
};

/** What `official` stands for. */
const OFFICIAL = { clamp: 3, stopping: 'batch', cache: 'stale', fallback: false } as const;

/**
 * From noise ε [B, T, D] ~ N(0, I) to images, block by block from the last to the first, each inverted as its plan says, starting at ε·√var
 * (arXiv 2505.12849; encoreus/GS-Jacobi_for_TarFlow Model.reverse).
 *
 * A label of -1 means none, as in training; the official samplers take the last class for it. Guidance on a model without classes, or
 * without labels, does something only if its attention temperature is not 1; otherwise the sample says so in `warnings`.
 * @throws Error if strategy, labels, noise or model do not fit the settings, or a block's solution is not finite
 */
export function gsJacobiSampler(settings: TarFlowSettings): GsJacobiSampler {
  const where = 'gsJacobiSampler';
  const config = parseConfig(tarflowConfig, settings, where);
  const { T, D } = tokenSizes(config);
  const maps = new Map<number, CompiledMap<BlockParams, BlockInputs, BlockCache>>();
  const mapFor = (temperature: number): CompiledMap<BlockParams, BlockInputs, BlockCache> => {
    const map = maps.get(temperature) ?? compileCausalMap(tarflowMap(config, temperature));
    maps.set(temperature, map);
    return map;
  };
  const invert = compile(
    (p: BlockParams, { z, inputs }: PreparedBlock, guidance: Guidance[]) =>
      reverseBlock(p, z, config, { context: inputs.context, ...(guidance[0] && { guidance: guidance[0] }) }),
    { name: 'tarflow-sequential' },
  );
  type Prepare = Compiled<[given: BlockSetting & { z: Tensor; means?: BlockMeans } & Tree], PreparedBlock & Tree>;
  const prepares = new Map<string, Prepare>();
  const prepareFor = (k: number, guess: Guess): Prepare => {
    const key = `${k % 2} ${guess}`;
    const prepare: Prepare =
      prepares.get(key) ?? compile((given) => prepareBlock(k, guess, given) as PreparedBlock & Tree, { name: 'prepare' });
    prepares.set(key, prepare);
    return prepare;
  };
  const reorder = compile((x: Tensor) => permute(x, 1), { donate: [0], name: 'reverse-order' });
  const start = compile((noise: Tensor, variance: Tensor) => tf.mul(noise, tf.sqrt(variance)) as Tensor, { name: 'prior' });

  const sample = (model: TarFlow, noise: Tensor, options: GsJacobiSampleOptions): GsJacobiSample => {
    const { y, guidance: guidanceOptions, means, official = false, onBlock, onIteration, strategy, ...own } = options;
    checkModel(model, config, where);
    const { B } = dims<'B'>(noise, 'B T D', `${where}: noise`, { T, D });
    checkLabels(y, B, config, where);
    checkLabelRange(y, config, where);
    const plans = readStrategy(strategy, config.blocks, where);
    if (official) checkOfficial(plans, T);
    checkMeans(plans, means, { T, D });
    const guidance = readGuidance(guidanceOptions, where);
    const weights = guidance === null ? undefined : guidanceWeights(guidance, T);
    const graphs = mapFor(guidance?.temperature ?? 1);
    const settingsOfBlock = { ...own, ...(official && OFFICIAL) };

    const invertBlock = (k: number, plan: BlockPlan, z: Tensor): { x: Tensor; report: BlockReport } => {
      const params = model.blocks[k]!;
      const guess = plan.method === 'sequential' ? 'z' : plan.guess;
      const setting = { params, z, ...(y && { y }), ...(weights && { weights }), ...(guess === 'mean' && { means: means![k]! }) };
      const prepared = prepareFor(k, guess)(setting);
      try {
        const problem = { params, inputs: prepared.inputs, guess: prepared.guess };
        if (plan.method === 'sequential') {
          const { guidance: branches } = prepared.inputs;
          const inverse = tf.scalar(1 / (guidance?.temperature ?? 1));
          const guides = branches === undefined ? [] : [{ context: branches.context, weights: weights!, inverseTemperature: inverse }];
          const x = invert(params, prepared, guides);
          inverse.dispose();
          return { x, report: { block: k, plan, depth: T - 1, work: (T - 1) / T } };
        }
        if (plan.method === 'exact') {
          const { window, tolerance } = plan;
          const { x, report } = solveExactly(graphs, problem, {
            window,
            ...(tolerance !== undefined && { tolerance }),
            ...(onIteration && { onIteration: (state) => onIteration({ block: k, segment: 0, ...state }) }),
          });
          const { depth, work, ...exact } = report;
          return { x, report: { block: k, plan, depth, work, exact } };
        }
        const { segments, iterations, tolerance = own.tolerance } = plan;
        const { x, report } = solveGsJacobi(graphs, problem, {
          ...settingsOfBlock,
          segments,
          iterations,
          ...(tolerance !== undefined && { tolerance }),
          ...(onIteration && { onIteration: (state) => onIteration({ block: k, ...state }) }),
        });
        return { x, report: { block: k, plan, ...report } };
      } finally {
        graphs.release(prepared);
      }
    };

    const blocks: BlockReport[] = [];
    let z = start(noise, model.var);
    for (const [i, plan] of plans.entries()) {
      const k = config.blocks - 1 - i;
      let inverted: ReturnType<typeof invertBlock>;
      try {
        inverted = invertBlock(k, plan, z);
      } finally {
        graphs.release(z);
      }
      const { x, report } = inverted;
      z = k % 2 === 0 ? x : reorder(x);
      blocks.push(report);
      onBlock?.({ block: k, x: z, report });
    }
    const images = tf.tidy(() => unpatchify(z, config));
    z.dispose();
    weights?.dispose();
    return { images, report: { ...totalCost(blocks), blocks }, warnings: guidanceWarnings(guidance, y !== undefined, config) };
  };

  const all = (): { graphs: number; dispose(): void }[] => [...maps.values(), ...prepares.values(), invert, reorder, start];
  const sampler = Object.assign(sample, {
    dispose: () => {
      for (const graph of all()) graph.dispose();
    },
  });
  return Object.defineProperty(sampler, 'graphs', { get: () => all().reduce((sum, one) => sum + one.graphs, 0) }) as GsJacobiSampler;
}

/** The released code leaves tokens unsolved, without a word, where segments do not divide them (GS_Jacobi_sampling.py:374-379). */
function checkOfficial(plans: readonly BlockPlan[], tokens: number): void {
  for (const [i, plan] of plans.entries()) {
    if (plan.method === 'sequential') continue;
    const at = `gsJacobiSampler: strategy: ${i}`;
    if (plan.method === 'exact') throw new Error(`${at}: wanted 'sequential' or 'gs-jacobi' in the official mode, got 'exact'`);
    if (typeof plan.segments !== 'number')
      throw new Error(`${at}: segments: wanted a number in the official mode, got [${plan.segments.join(', ')}]`);
    checkNumber(`${at}: segments`, plan.segments, { integer: true, min: 1, max: tokens / 2 });
    if (tokens % plan.segments !== 0)
      throw new Error(`${at}: segments: wanted a divisor of ${tokens} tokens in the official mode, got ${plan.segments}`);
  }
}

/** @throws Error unless every block that starts from `mean` has its means */
function checkMeans(plans: readonly BlockPlan[], means: readonly BlockMeans[] | undefined, sizes: { T: number; D: number }): void {
  for (const [i, plan] of plans.entries()) {
    if (plan.method === 'sequential' || plan.guess !== 'mean') continue;
    const own = means?.[plans.length - 1 - i];
    if (own === undefined)
      throw new Error(`gsJacobiSampler: means: wanted some for block ${plans.length - 1 - i}, which starts from them, got none`);
    for (const name of ['alpha', 'mu'] as const) dims(own[name], 'T D', `gsJacobiSampler: means: ${plans.length - 1 - i}.${name}`, sizes);
  }
}
