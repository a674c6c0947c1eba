import { compile, parseConfig, type Tensor, tf } from '@atelier/tensor';
import {
  guidanceWarnings,
  readGuidance,
  tarflowConfig,
  unpatchify,
  type TarFlow,
  type TarFlowConfig,
  type TarFlowSettings,
} from '@atelier/tarflow';
import { blockInverter, type BlockInverter, type BlockOptions, type BlockReport } from './block-inverter.ts';
import { followPlan, type Plan } from './plan.ts';
import { totalCost, type Cost } from './solution.ts';
import { readStrategy, type StrategyOptions } from './strategy.ts';

/** How every block is inverted: by a strategy, in the order of sampling (entry i is block K - 1 - i), or by what `planStrategy` found. */
export type WayToSample =
  | { strategy: StrategyOptions; plan?: never }
  /** A plan is followed where it was made for batches like this one; otherwise the sample is drawn token by token, with a warning. */
  | { plan: Plan; strategy?: never };

export type GsJacobiSampleOptions = BlockOptions &
  WayToSample & {
    /** Looks at the output x [B, T, D] of every block, in image order, which is lent. */
    onBlock?: (state: { block: number; x: Tensor; report: BlockReport }) => void;
  };

export type GsJacobiSample = {
  /** Images [B, H, W, C]; near [-1, 1], not clipped. */
  images: Tensor;
  /** In the order of sampling, and all together. */
  report: Cost & { blocks: BlockReport[] };
  /** What the options asked for and could not have, in words. */
  warnings: string[];
};

/** Samples models of fixed settings; its graphs live until `dispose`. */
export type GsJacobiSampler = {
  (model: TarFlow, noise: Tensor, options: GsJacobiSampleOptions): GsJacobiSample;
  readonly config: TarFlowConfig;
  /** What inverts its blocks, one at a time. */
  readonly blocks: BlockInverter;
  /** Noise ε [B, T, D] with the variance of the model's prior: ε·√var, a new tensor. */
  prior(model: TarFlow, noise: Tensor): Tensor;
  /** Graphs made so far. */
  readonly graphs: number;
  dispose(): void;
};

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
  const blocks = blockInverter(config, where);
  const prior = compile((noise: Tensor, variance: Tensor) => tf.mul(noise, tf.sqrt(variance)) as Tensor, { name: 'prior', idle: 'sleep' });

  const sample = (model: TarFlow, noise: Tensor, options: GsJacobiSampleOptions): GsJacobiSample => {
    const { strategy, plan: made, onBlock, ...given } = options;
    const { y } = given;
    const guidance = readGuidance(given.guidance, where);
    if ((strategy === undefined) === (made === undefined))
      throw new Error(`${where}: wanted either a strategy or a plan, got ${strategy ? 'both' : 'neither'}`);
    const followed = made && followPlan(made, { batch: noise.shape[0]!, labelled: y !== undefined, ...(guidance && { guidance }) });
    const rest = followed ? { ...given, ...followed.options } : given;
    const plans = readStrategy(followed?.strategy ?? strategy!, config.blocks, where);
    const blockOf = (i: number): number => config.blocks - 1 - i;
    blocks.check(model, noise, new Map(plans.map((plan, i) => [blockOf(i), plan])), rest);
    const reports: BlockReport[] = [];
    let z = prior(noise, model.var);
    for (const [i, plan] of plans.entries()) {
      const before = z;
      try {
        const { x, report } = blocks.invert(model, { block: blockOf(i), plan, z }, rest);
        z = x;
        reports.push(report);
      } finally {
        before.dispose();
      }
      onBlock?.({ block: blockOf(i), x: z, report: reports.at(-1)! });
    }
    const images = tf.tidy(() => unpatchify(z, config));
    z.dispose();
    const warnings = guidanceWarnings(guidance, y !== undefined, config);
    if (followed?.warning !== undefined) warnings.push(followed.warning);
    return { images, report: { ...totalCost(reports), blocks: reports }, warnings };
  };

  const sampler = Object.assign(sample, {
    config,
    blocks,
    prior: (model: TarFlow, noise: Tensor) => prior(noise, model.var),
    dispose: () => {
      blocks.dispose();
      prior.dispose();
    },
  });
  return Object.defineProperty(sampler, 'graphs', { get: () => blocks.graphs + prior.graphs }) as GsJacobiSampler;
}
