import { Rng, tf } from '@atelier/tensor';
import { expectClose, expectGradients, expectNoLeak } from '@atelier/testkit';
import { everyEngine } from '@atelier/testkit/vitest';
import { describe, expect, it } from 'vitest';
import { denoise, denoiserFromStateDict, denoisingLoss, drawNoise, initDenoiser, leastError, samplePoints } from '../src/index.ts';

const rng = new Rng('test');

describe('the denoiser', () => {
  everyEngine(() => {
    it('has the gradients of central differences', () => {
      tf.tidy(() => {
        const settings = { sigmas: [0.5, 2] };
        const { e, k } = drawNoise(rng, 3, settings);
        const [x, weight, bias] = [rng.child('x').normal([3, 2]), rng.child('w').normal([2, 2, 2]), rng.child('b').normal([2, 2])];
        expectGradients(
          (points, w, b) => denoisingLoss((z, levels) => denoise({ weight: w!, bias: b! }, z, levels), { x: points!, e, k }, settings),
          [x, weight, bias],
          { cotangent: [1], max: 1e-3 },
        );
      });
    });

    it('that always gives one point samples that point', () => {
      tf.tidy(() => {
        const points = samplePoints((z) => tf.add(tf.zerosLike(z), tf.tensor1d([1, -2])), rng.normal([3, 2]));
        expectClose(points, [1, -2, 1, -2, 1, -2], { abs: 1e-6 });
      });
    });

    it('leaves no tensor behind', async () => {
      const params = initDenoiser(rng.child('init'));
      const e = rng.normal([2, 2]);
      await expectNoLeak(() => samplePoints((z, k) => denoise(params, z, k), e));
      tf.dispose([params.weight, params.bias, e]);
    });
  });
});

describe('bad input is named', () => {
  it.each([
    ['a denoiser of other points', () => denoise(initDenoiser(rng), tf.zeros([2, 3]), tf.zeros([2], 'int32')), 'denoise: weight: wanted'],
    ['levels that fall', () => samplePoints((z) => z, tf.zeros([1, 2]), { sigmas: [2, 1] }), 'wanted sigmas that rise'],
    ['a checkpoint without a bias', () => denoiserFromStateDict({}), 'denoiserFromStateDict'],
    ['no noise at all', () => leastError([1], 0), 'leastError: wanted finite numbers above 0, got 0'],
  ])('%s', (_, call, message) => {
    expect(() => call()).toThrow(message);
  });
});
