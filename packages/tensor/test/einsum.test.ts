import { beforeEach, describe, expect, it } from 'vitest';
import { expectClose } from '../../testkit/src/index.ts';
import { jvp } from '../src/autodiff.ts';
import { einsum } from '../src/einsum.ts';
import { useEngine } from '../src/engine.ts';
import { Rng } from '../src/rng.ts';
import { tf, type Tensor } from '../src/tf.ts';

beforeEach(() => useEngine());

const rng = new Rng('einsum');
const cases: [string, number[][], (a: Tensor, b: Tensor) => Tensor][] = [
  ['ij,jk->ik', [[2, 3], [3, 4]], (a, b) => tf.matMul(a, b)], // prettier-ignore
  ['bqd,bkd->bqk', [[2, 3, 4], [2, 5, 4]], (a, b) => tf.matMul(a, b, false, true)], // prettier-ignore
  ['bij,bij->b', [[2, 3, 4], [2, 3, 4]], (a, b) => tf.sum(tf.mul(a, b), [1, 2])], // prettier-ignore
  ['i,j->ji', [[3], [4]], (a, b) => tf.mul(tf.reshape(b, [4, 1]), tf.reshape(a, [1, 3]))], // prettier-ignore
  ['ijk->ki', [[2, 3, 4]], (a) => tf.transpose(tf.sum(a, 1))],
  ['ij->', [[2, 3]], (a) => tf.sum(a)],
  ['bid,d->bi', [[2, 3, 4], [4]], (a, b) => tf.sum(tf.mul(a, b), -1)], // prettier-ignore
];

describe('einsum', () => {
  for (const [equation, shapes, plain] of cases) {
    it(`${equation}: value, gradient and jvp as by plain operations`, () => {
      const xs = shapes.map((shape, i) => rng.child(i).normal(shape));
      const vs = shapes.map((shape, i) => rng.child(`v${i}`).normal(shape));
      const ours = (...args: Tensor[]): Tensor => einsum(equation, ...args);
      const theirs = (...args: Tensor[]): Tensor => plain(args[0]!, args[1]!);
      expectClose(ours(...xs), theirs(...xs), { max: 1e-5 });
      const wave = (f: (...args: Tensor[]) => Tensor) => tf.grads((...args: Tensor[]) => tf.sum(tf.sin(f(...args))))(xs);
      const wanted = wave(theirs);
      wave(ours).forEach((g, i) => expectClose(g, wanted[i]!, { max: 1e-5 }, `${equation} input ${i}`));
      expectClose(jvp(ours, xs, vs).tangent, jvp(theirs, xs, vs).tangent, { max: 1e-5 });
    });
  }

  it('refuses equations and shapes that do not fit', () => {
    const x = tf.zeros([2, 3]);
    expect(() => einsum('ij', x)).toThrow("einsum: equation: wanted the form 'ab,bc->ac' with one or two tensors, got 'ij'");
    expect(() => einsum('ij,jk->ik', x)).toThrow('wanted 2 tensors, got 1');
    expect(() => einsum('ii->i', x)).toThrow("wanted each letter once in a tensor, got 'ii'");
    expect(() => einsum('ij,jk->ik', x, x)).toThrow("wanted size 3 for 'j' of tensor 1, got 2");
    expect(() => einsum('ijk->i', x)).toThrow('wanted 3 axes for tensor 0, got shape [2,3]');
    expect(() => einsum('ij->iz', x)).toThrow("wanted each letter of the result once and in a tensor, got 'iz'");
  });
});
