import type { Sampler } from '@atelier/diffusion';
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
  /** A plan is followed if it was made for batches like this one. Otherwise the sample is drawn token by token, with a warning. */
  | { plan: Plan; strategy?: never };

export type GsJacobiSampleOptions = BlockOptions & WayToSample;

/** Output x [B, T, D] of an inverted block, in image order, and its cost. */
export type GsJacobiStep = { block: number; x: Tensor; report: BlockReport };

export type GsJacobiSample = {
  /** Images [B, H, W, C]; near [-1, 1], not clipped. */
  images: Tensor;
  /** The cost of each block in the order of sampling, and the total. */
  report: Cost & { blocks: BlockReport[] };
  /** Sentences about options that had no effect. */
  warnings: string[];
};

/** Samples models of fixed settings. */
export type GsJacobiSampler = Sampler<TarFlow, GsJacobiSampleOptions, GsJacobiStep, GsJacobiSample> & {
  readonly config: TarFlowConfig;
  /** The inverter of its blocks, one at a time. */
  readonly blocks: BlockInverter;
  /** Noise ε [B, T, D] with the variance of the model's prior: ε·√var, a new tensor. */
  prior(model: TarFlow, noise: Tensor): Tensor;
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

  /** The plans of all blocks, the options that go with them, and what to warn of. */
  const prepare = (model: TarFlow, noise: Tensor, options: GsJacobiSampleOptions) => {
    const { strategy, plan: made, ...given } = options;
    const { y } = given;
    const guidance = readGuidance(given.guidance, where);
    if ((strategy === undefined) === (made === undefined))
      throw new Error(`${where}: wanted either a strategy or a plan, got ${strategy ? 'both' : 'neither'}`);
    const followed = made && followPlan(made, { batch: noise.shape[0]!, labelled: y !== undefined, ...(guidance && { guidance }) });
    const rest = followed ? { ...given, ...followed.options } : given;
    const plans = readStrategy(followed?.strategy ?? strategy!, config.blocks, where).map((plan, i) => ({
      block: config.blocks - 1 - i,
      plan,
    }));
    blocks.check(model, noise, new Map(plans.map(({ block, plan }) => [block, plan])), rest);
    const warnings = guidanceWarnings(guidance, y !== undefined, config);
    if (followed?.warning !== undefined) warnings.push(followed.warning);
    return { plans, options: rest, warnings };
  };

  /** The output of every block in the order of sampling. Each is disposed when the next one is asked for. */
  function* walk(model: TarFlow, noise: Tensor, { plans, options }: ReturnType<typeof prepare>): Generator<GsJacobiStep, void, void> {
    let z = prior(noise, model.var);
    try {
      for (const { block, plan } of plans) {
        const { x, report } = blocks.invert(model, { block, plan, z }, options);
        z.dispose();
        z = x;
        yield { block, x, report };
      }
    } finally {
      z.dispose();
    }
  }

  return {
    config,
    blocks,
    prior: (model, noise) => prior(noise, model.var),
    sample(model, noise, options) {
      const prepared = prepare(model, noise, options);
      const reports: BlockReport[] = [];
      let images: Tensor | undefined;
      for (const { block, x, report } of walk(model, noise, prepared)) {
        reports.push(report);
        if (block === 0) images = tf.tidy(() => unpatchify(x, config));
      }
      return { images: images!, report: { ...totalCost(reports), blocks: reports }, warnings: prepared.warnings };
    },
    *steps(model, noise, options) {
      for (const { x, ...step } of walk(model, noise, prepare(model, noise, options))) yield { ...step, x: x.clone() };
    },
    get graphs() {
      return blocks.graphs + prior.graphs;
    },
    dispose: () => {
      blocks.dispose();
      prior.dispose();
    },
  };
}
