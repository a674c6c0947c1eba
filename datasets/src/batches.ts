import { checkNumber, Rng, type RngState } from '@atelier/tensor';
import { z } from 'zod';
import { gather, type ImageBatch, type ImageSet, type VideoSet } from './image-set.ts';

/** Where a cursor stands, as plain JSON. */
export type BatchState = {
  /** Passes begun before this one, and images of this pass already given. */
  epoch: number;
  position: number;
  /** Size of the set the cursor runs over. */
  count: number;
  /** The stream whose children order the passes. */
  rng: RngState;
};

export type Batches = {
  /** The next batch, always full. */
  next(): ImageBatch;
  /** What `restore` needs to give exactly the batches that would have come next. */
  state(): BatchState;
  /** Goes to a place that `state()` gave, also after a trip through JSON. @throws Error if it is no such state or another set's. */
  restore(state: BatchState): void;
};

const whole = z.number().int().min(0);
const stateSchema = z.object({ epoch: whole, position: whole, count: whole, rng: z.looseObject({}) });

/**
 * A shuffled, endless run over a set: each pass (epoch) shows every image (or video) once, in its own order.
 *
 * Batches are always full, because a step compiled for one batch size would be compiled again for a shorter last batch; the batch that reaches
 * the end of a pass is filled up from the next one. The order of pass e comes from `rng.child('epoch').child(e)`, so it depends on the seed
 * alone and `rng` itself is not drawn from.
 *
 * @param batchSize B, at least 1; it may exceed the size of the set.
 */
export function batches(set: ImageSet | VideoSet, batchSize: number, rng: Rng): Batches {
  checkNumber('batches: batchSize', batchSize, { integer: true, min: 1 });
  let source = rng;
  let epoch = 0;
  let position = 0;
  const orderOf = (pass: number): Int32Array => source.child('epoch').child(pass).permutation(set.count);
  let order = orderOf(0);

  return {
    next() {
      const indices = new Int32Array(batchSize);
      for (let filled = 0; filled < batchSize;) {
        if (position === set.count) {
          epoch++;
          position = 0;
          order = orderOf(epoch);
        }
        const taken = order.subarray(position, position + batchSize - filled);
        indices.set(taken, filled);
        filled += taken.length;
        position += taken.length;
      }
      return gather(set, indices);
    },
    state: () => ({ epoch, position, count: set.count, rng: source.state() }),
    restore(state) {
      const parsed = stateSchema.safeParse(state);
      if (!parsed.success) {
        const issue = parsed.error.issues[0]!;
        throw new Error(
          `batches.restore: wanted a state { epoch, position, count, rng }, got ${issue.message} at '${issue.path.join('.')}'`,
        );
      }
      if (state.count !== set.count)
        throw new Error(`batches.restore: wanted the state of a cursor over ${set.count} images, got one over ${state.count}`);
      if (state.position > set.count) throw new Error(`batches.restore: wanted a position in [0, ${set.count}], got ${state.position}`);
      source = Rng.restore(state.rng);
      epoch = state.epoch;
      position = state.position;
      order = orderOf(epoch);
    },
  };
}
