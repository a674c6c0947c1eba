import fc from 'fast-check';
import { describe, it } from 'vitest';
import { tf, useEngine } from '../../src/index.ts';
import { differences, expectDerivatives, name } from './check.ts';
import { randomCase } from './random-cases.ts';

/** Cases per engine. ATELIER_DERIVATIVES=2000 draws more. */
const CASES = Number(process.env.ATELIER_DERIVATIVES ?? 60);
const TIMEOUT_MS = 60_000 + 3000 * CASES;

describe.each(['ort', 'cpu'])('derivatives of random cases on %s', (engine) => {
  it(
    'are those that differences of the values give, and the forward mode is the transpose of the gradient',
    async () => {
      await fc.assert(
        fc.asyncProperty(randomCase, async (at) => {
          await useEngine('cpu');
          const expected = tf.tidy(() => differences(at));
          await useEngine(engine);
          try {
            expectDerivatives(at, expected);
          } catch (error) {
            throw new Error(`${name(at)}: ${(error as Error).message}`, { cause: error });
          }
        }),
        { numRuns: CASES },
      );
    },
    TIMEOUT_MS,
  );
});
