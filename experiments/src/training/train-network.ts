import { disposeTree, type Rng, type Tree } from '@atelier/tensor';
import type { BaseConfig, Resumable, RunContext } from '../runner/experiment.ts';
import { learner, type LearnerOptions, type LearnerRates, type LearnerState, type Loss } from './learner.ts';
import { trainLoop } from './train-loop.ts';

/** One network to be trained on one loss. */
export interface NetworkTraining<P extends Tree, O extends Tree, Batch extends Tree> extends LearnerOptions<O> {
  readonly context: RunContext<BaseConfig & { readonly checkpointSeconds: number }>;
  /** Name of the stage, of its checkpoint and of its curve. */
  readonly name: string;
  readonly steps: number;
  /** The stream of all draws of the steps. Two networks with the same stream get the same draws. */
  readonly rng: Rng;
  /** Makes the initial parameters, which the training then owns. Called again when a run is resumed, only for their structure. */
  init(): P;
  /** The inputs of the loss at a step. `rng` is a new stream for each step. The training disposes the inputs. */
  batch(rng: Rng, step: number): Batch;
  loss(params: P, batch: Batch): Loss;
  /** The position in the data, which `batch` advances. */
  readonly cursor?: Resumable | undefined;
  /** Called with the averaged weights (or, without an average, the parameters) after every `every` steps and after the last. */
  readonly watch?: { readonly every: number; show(params: P, step: number): Promise<void> } | undefined;
}

/**
 * Trains one network: loss, gradients, optimizer and the average of the weights in one compiled step.
 *
 * @returns the averaged weights, or the last ones if there is no average (the caller must dispose them), and the median time per step in ms
 */
export async function trainNetwork<P extends Tree, O extends Tree, Batch extends Tree>(
  training: NetworkTraining<P, O, Batch>,
): Promise<{ params: P; msPerStep: number }> {
  const { context, name, steps, rng, cursor, watch } = training;
  const own = learner(training);
  const { state, msPerStep } = await trainLoop<LearnerState<P, O>, { inputs: Batch; rates: LearnerRates }>({
    context,
    name,
    steps,
    rng,
    ...(cursor && { cursor }),
    init: () => own.start(training.init()),
    batch: (stepRng, step) => ({ inputs: training.batch(stepRng, step), rates: own.rates(step) }),
    step(state, { inputs, rates }) {
      const { state: next, loss, metrics } = own.descend(state, (params) => training.loss(params, inputs), rates);
      return { state: next, metrics: { loss, ...metrics } };
    },
    every: { checkpointSeconds: context.config.checkpointSeconds, ...(watch && { watch: watch.every }) },
    ...(watch && { watch: ({ params, average = params }, step) => watch.show(average, step) }),
  });
  disposeTree(state.optimizer);
  if (state.average === undefined) return { params: state.params, msPerStep };
  disposeTree(state.params);
  return { params: state.average, msPerStep };
}
