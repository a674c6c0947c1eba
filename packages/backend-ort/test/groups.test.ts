import { beforeEach, describe, expect, it } from 'vitest';
import type { OrtBackend } from '../src/backend.ts';
import { tf } from '../src/tf.ts';
import { useOrt, type Tensor } from './agree.ts';

/** Thousands of results that are alive at once are evaluated in groups. */

const backend = (): OrtBackend => tf.backend() as OrtBackend;
const x = (): Tensor => tf.tensor1d([1, 2, 3]);

beforeEach(useOrt);

describe('many tensors that have not been read', () => {
  for (const count of [4000, 10_000]) {
    it(`share two sessions: ${count}`, () => {
      backend().flush();
      const made = backend().sessions.created;
      const v = x();
      const all = Array.from({ length: count }, (_, i) => tf.mul(v, i));
      expect(Array.from(all[count - 1]!.dataSync())).toEqual([1, 2, 3].map((one) => one * (count - 1)));
      expect(backend().sessions.created - made).toBeLessThanOrEqual(2);
      // Everything was evaluated with the one that was read.
      for (const i of [0, 1, 2, 511, 512, 513, 2000]) expect(all[i]!.dataSync()[1]).toBe(2 * i);
      expect(backend().sessions.created - made).toBeLessThanOrEqual(2);
      for (const one of all) one.dispose();
    });
  }

  it('compute what they have in common once: a later group reads what an earlier one kept', () => {
    const v = x();
    // No tensor holds the chain, which all results need, nor the nodes between; the last results need the first.
    const common = tf.tidy(() => tf.exp(tf.mul(tf.sin(v), 2)));
    const all = Array.from({ length: 1300 }, (_, i) => tf.tidy(() => tf.topk(tf.add(tf.tan(tf.add(common, i)), common), 2)));
    const [first, last] = [all[0]!.values, all[1299]!.values];
    const sums = all.map(({ values }, i) => tf.add(values, i === 0 ? last : first));
    common.dispose();
    const wanted = [1, 2, 3].map((a) => Math.exp(2 * Math.sin(a)));
    const largest = (i: number): number => Math.max(...wanted.map((c) => Math.fround(Math.tan(c + i) + c)));
    for (const i of [3, 700, 1299]) expect(sums[i]!.dataSync()[0]! / (largest(i) + largest(0))).toBeCloseTo(1, 2);
    for (const i of [0, 600, 1299]) expect(all[i]!.indices.dataSync()[0]).toBeLessThan(3);
    for (const { values, indices } of all) tf.dispose([values, indices]);
    tf.dispose(sums);
  });

  it('are all read beside one that fails', () => {
    const bad = tf.gather(x(), tf.add(tf.tensor1d([3], 'int32'), tf.scalar(1, 'int32')) as never);
    const all = Array.from({ length: 1500 }, (_, i) => tf.mul(x(), i));
    const dependent = tf.add(bad, all[1400]!);
    expect(all[1499]!.dataSync()[0]).toBe(1499);
    expect(all[3]!.dataSync()[0]).toBe(3);
    expect(() => dependent.dataSync()).toThrow(/GatherV2/);
    tf.dispose([bad, dependent, ...all]);
  });
});
