import { Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import { beforeAll, expect, it } from 'vitest';
import { fineGradients } from '../src/fine.ts';
import { fineStage } from '../src/index.ts';

beforeAll(async () => void (await useEngine()));

it('the gradients of a few heads at a time are those of all heads together', () => {
  tf.tidy(() => {
    const rng = new Rng('heads');
    const [q, k, v, dO] = ['q', 'k', 'v', 'dO'].map((name) => rng.child(name).normal([2, 3, 20, 4, 5])) as [Tensor, Tensor, Tensor, Tensor];
    const sizes = Int32Array.from({ length: 20 }, (_, i) => 1 + (i % 4));
    const rows = Array.from({ length: 6 * 20 }, (_, i) => [...rng.child(i).permutation(20).slice(0, 3)]);
    const lists = tf.tensor(rows.flat(), [2, 3, 20, 3], 'int32');
    const O = fineStage(q, k, v, lists, sizes);
    const bytesOfHead = 4 * 20 * 3 * 4 * (5 + 5);
    const [all, two, one] = [Infinity, 2.5 * bytesOfHead, 1].map((bytes) => fineGradients({ q, k, v }, { O, dO }, lists, sizes, bytes));
    all!.forEach((x, i) => {
      expect(x.shape).toEqual(q.shape);
      expectClose(two![i]!, x, { max: 1e-6 });
      expectClose(one![i]!, x, { max: 1e-6 });
    });
  });
});
