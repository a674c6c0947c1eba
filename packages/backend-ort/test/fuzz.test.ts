import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { faultsOf } from '../fuzz/check.ts';
import { programs, show } from '../fuzz/program.ts';
import { tf } from '../src/tf.ts';
import { useOrt, type Tensor } from './agree.ts';
import { onOrt, type Operand } from './sweep.ts';

/** The short form of `pnpm --filter @atelier/backend-ort fuzz`. */
const PROGRAMS = 200;
/** They take about 20 s of a processor, and more on a busy machine. */
const TIMEOUT_MS = 900_000;

describe('random programs', () => {
  it(
    'give on ort what they give on cpu: values, types and gradients, evaluated, evaluated again, and compiled',
    async () => {
      await useOrt();
      await fc.assert(
        fc.asyncProperty(programs, async (program) => {
          const faults = await faultsOf(program);
          if (faults.length > 0) throw new Error(`${faults.join('\n')}\n${show(program)}`);
        }),
        { numRuns: PROGRAMS },
      );
    },
    TIMEOUT_MS,
  );
});

/** What random programs found, and the right values. */
describe('found by random programs', () => {
  const rows: Operand = { values: [1, 2, 3, 4, 5, 6], dtype: 'float32', shape: [3, 2] };
  const expectBoth = async (f: (x: Tensor) => Tensor, x: Operand, wanted: number[], dtype: string): Promise<void> => {
    for (const compiled of [false, true]) expect(await onOrt(f, [x], compiled)).toEqual({ dtype, values: wanted });
  };

  it('stridedSlice leaves an axis out beside an axis with another stride', async () => {
    // Row 1 backwards. TensorFlow.js's cpu gives [2, 3], which are elements of two rows.
    await expectBoth((x) => tf.stridedSlice(x, [1, 1], [2, -3], [1, -1], 0, 0, 0, 0, 1), rows, [4, 3], 'float32');
  });

  it('floorDiv, mod, tan and oneHot of nothing are nothing', async () => {
    const nothing: Operand = { values: [], dtype: 'float32', shape: [0, 2] };
    await expectBoth((x) => tf.floorDiv(x, tf.scalar(2)), nothing, [], 'int32');
    await expectBoth((x) => tf.mod(x, tf.scalar(2)), nothing, [], 'float32');
    await expectBoth((x) => tf.tan(x), nothing, [], 'float32');
    await expectBoth((x) => tf.oneHot(tf.cast(tf.mod(x, tf.scalar(2)), 'int32') as never, 3), nothing, [], 'int32');
  });

  it('concat of several types keeps the values of the widest one', async () => {
    // cpu takes the type of the first tensor and cuts the others off.
    await expectBoth((x) => tf.concat([tf.tensor1d([7], 'int32'), tf.reshape(x, [6])]), rows, [7, 1, 2, 3, 4, 5, 6], 'float32');
  });
});
