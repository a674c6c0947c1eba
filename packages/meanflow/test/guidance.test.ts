import { Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { conditionalVelocity, interpolate } from '@atelier/diffusion';
import {
  dropClasses,
  effectiveScale,
  guidedMeanFlowLoss,
  guidedVelocity,
  meanFlowLoss,
  type AverageVelocity,
  type GuidanceOptions,
} from '../src/index.ts';
import { testBatch, testNetwork, testParams } from './networks.ts';

const nullLabel = 4;

/** A batch with its point and velocity, and a network with a class table of 5 rows. */
function scene(seed: string, batch = 6) {
  const rng = new Rng(seed);
  const data = testBatch(rng, [batch, 3, 2]);
  const network = testNetwork(testParams(rng, 6));
  const at = { z: interpolate(data.x, data.e, data.t), t: data.t, y: data.y, velocity: conditionalVelocity(data.x, data.e) };
  const guided = (options: GuidanceOptions): Tensor => guidedVelocity(network, at, { ...options, nullLabel }).velocity;
  return { ...at, data, network, guided };
}

beforeAll(async () => {
  await useEngine();
});

describe('invariant 9: the guided velocity', () => {
  it('is e - x for ω = 1, κ = 0, as in the general formula', () => {
    const { velocity, guided } = scene('none');
    expectClose(guided({ omega: 1, kappa: 0 }), velocity, {});
    expectClose(guided({ omega: 1 + 1e-9, kappa: 0 }), velocity, { abs: 1e-6 });
  });

  it('is e - x outside the interval; the ends belong to the interval', () => {
    const { z, y, velocity, network } = scene('interval');
    const t = tf.tensor1d([0, 0.25, 0.5, 0.75, 0.875, 1]);
    const ofInterval = (interval: [number, number]): Tensor =>
      guidedVelocity(network, { z, t, y, velocity }, { omega: 2, kappa: 0.5, interval, nullLabel }).velocity;
    const [cut, everywhere] = [ofInterval([0.25, 0.75]), ofInterval([0, 1])];
    const rows = (a: Tensor, from: number, to: number): Tensor => tf.slice(a, [from, 0, 0], [to - from, 3, 2]);
    expectClose(rows(cut, 0, 1), rows(velocity, 0, 1), { abs: 1e-6 });
    expectClose(rows(cut, 4, 6), rows(velocity, 4, 6), { abs: 1e-6 });
    expectClose(rows(cut, 1, 4), rows(everywhere, 1, 4), { abs: 1e-6 });
    expect(tf.max(tf.abs(tf.sub(rows(everywhere, 1, 4), rows(velocity, 1, 4)))).dataSync()[0]).toBeGreaterThan(0.1);
  });

  it('evaluates the network never without guidance, once for κ = 0 and otherwise twice, at h = 0 and without gradient', () => {
    const { z, t, y, velocity } = scene('count');
    for (const [omega, kappa, evaluations] of [
      [1, 0, 0],
      [3, 0, 1],
      [1, 0.5, 2],
      [0.2, 0.92, 2],
    ] as const) {
      const labels: number[][] = [];
      const network: AverageVelocity = (zi, _t, h, yi) => {
        expect(Array.from(h.dataSync())).toEqual(Array.from({ length: 6 }, () => 0));
        labels.push(Array.from(yi!.dataSync()));
        return tf.mul(zi, 2);
      };
      guidedVelocity(network, { z, t, y, velocity }, { omega, kappa, nullLabel });
      expect(labels).toHaveLength(evaluations);
      if (evaluations > 0) expect(labels[0]).toEqual(Array.from({ length: 6 }, () => nullLabel));
      if (evaluations > 1) expect(labels[1]).toEqual(Array.from(y.dataSync()));
    }
    const scale = tf.grad((s: Tensor) =>
      tf.add(
        tf.sum(guidedVelocity((zi) => tf.mul(zi, s), { z, t, y, velocity }, { omega: 1, kappa: 0.5, nullLabel }).velocity),
        tf.mul(s, 3),
      ),
    )(tf.scalar(1));
    expect(scale.dataSync()[0]).toBe(3);
  });

  it('with κ = 0 is v_∅ + ω·((e - x) - v_∅), as in the general formula', () => {
    const { z, t, y, velocity, network, guided } = scene('branch');
    const [unconditional, conditional] = [
      network(z, t, tf.zerosLike(t), tf.fill([6], nullLabel, 'int32')),
      network(z, t, tf.zerosLike(t), y),
    ];
    expectClose(guided({ omega: 2.5, kappa: 0 }), tf.add(unconditional, tf.mul(tf.sub(velocity, unconditional), 2.5)), { abs: 1e-6 });
    const [omega, kappa] = [0.6, 0.7];
    const general = tf.addN([tf.mul(velocity, omega), tf.mul(conditional, kappa), tf.mul(unconditional, 1 - omega - kappa)]);
    expectClose(guided({ omega, kappa }), general, { abs: 1e-6 });
  });
});

describe('invariant 10: the fixed point of guidance', () => {
  it('has the effective scale ω/(1 - κ)', () => {
    const { z, t, y } = scene('fixed point');
    const rng = new Rng('fields');
    const [conditional, unconditional] = [rng.normal([6, 3, 2]), rng.normal([6, 3, 2])];
    for (const [omega, kappa] of [
      [1, 0.5],
      [0.2, 0.92],
      [3, 0],
      [2, -1],
    ] as const) {
      const scale = effectiveScale({ omega, kappa });
      const guidedField = tf.add(tf.mul(conditional, scale), tf.mul(unconditional, 1 - scale));
      const network: AverageVelocity = (_z, _t, _h, yi) => (yi!.dataSync()[0] === nullLabel ? unconditional : guidedField);
      const { velocity } = guidedVelocity(network, { z, t, y, velocity: conditional }, { omega, kappa, nullLabel });
      expectClose(velocity, guidedField, { rel: 1e-5, max: 1e-5 }, `ω = ${omega}, κ = ${kappa}`);
    }
    expect(effectiveScale({ omega: 1, kappa: 0.5 })).toBe(2);
    expect(effectiveScale({ omega: 0.2, kappa: 0.92 })).toBeCloseTo(2.5, 10);
  });
});

describe('class dropout', () => {
  const batch = () => {
    const rng = new Rng('drop');
    return {
      y: tf.tensor1d([0, 1, 2, 3, 0], 'int32'),
      guided: rng.normal([5, 3, 2]),
      conditionalVelocity: rng.normal([5, 3, 2]),
      uniform: tf.tensor1d([0.9, 0.05, 0.5, 0.01, 0.1]),
    };
  };

  it('counts the draws below the probability and drops that many rows from the top (prefix), or drops exactly those rows (row)', () => {
    for (const [rule, dropped] of [
      ['prefix', [1, 1, 0, 0, 0]],
      ['row', [0, 1, 0, 1, 0]],
    ] as const) {
      const data = batch();
      const out = dropClasses(data, { probability: 0.1, rule, nullLabel });
      expect(Array.from(out.dropped.dataSync())).toEqual(dropped);
      expect(Array.from(out.y.dataSync())).toEqual([0, 1, 2, 3, 0].map((y, i) => (dropped[i] === 1 ? nullLabel : y)));
      expect(out.y.dtype).toBe('int32');
      const mask = tf.reshape(tf.tensor1d([...dropped]), [5, 1, 1]);
      const wanted = tf.add(tf.mul(mask, data.conditionalVelocity), tf.mul(tf.sub(1, mask), data.guided));
      expectClose(out.velocity, wanted, {}, rule);
    }
  });

  it('is applied before the network runs, and ṽ is the target and the velocity of the JVP', () => {
    const { data, network, z, t, y, velocity } = scene('whole', 6);
    const dropUniform = tf.tensor1d([0.9, 0.05, 0.5, 0.01, 0.6, 0.7]);
    const guidance = { omega: 1, kappa: 0.5 };
    const parts = guidedMeanFlowLoss(
      network,
      { ...data, dropUniform },
      { p: 1, c: 0.01, guidance, classDrop: { probability: 0.1, rule: 'row' }, nullLabel },
    );
    const guided = guidedVelocity(network, { z, t, y, velocity }, { ...guidance, nullLabel }).velocity;
    const drop = dropClasses(
      { y, guided, conditionalVelocity: velocity, uniform: dropUniform },
      { probability: 0.1, rule: 'row', nullLabel },
    );
    const byHand = meanFlowLoss(network, { ...data, y: drop.y, velocity: drop.velocity }, { p: 1, c: 0.01 });
    for (const key of ['loss', 'u', 'dudt', 'target'] as const) expectClose(parts[key], byHand[key], { rel: 1e-6, max: 1e-6 }, key);
    expectClose(parts.y, drop.y, {});
    const alongStraight = meanFlowLoss(network, { ...data, y: drop.y, velocity: drop.velocity, tangent: velocity }, { p: 1, c: 0.01 });
    expect(tf.max(tf.abs(tf.sub(alongStraight.dudt, parts.dudt))).dataSync()[0]).toBeGreaterThan(1e-2);
  });
});

describe('bad input', () => {
  it.each([
    ['κ = 1', () => effectiveScale({ omega: 1, kappa: 1 }), /effectiveScale: kappa: wanted a kappa other than 1/],
    [
      'an interval that ends before it starts',
      () => scene('a').guided({ omega: 2, kappa: 0, interval: [0.8, 0.3] }),
      /guidedVelocity: interval: wanted start <= end/,
    ],
    ['an unknown setting', () => scene('a').guided({ omega: 2, kappa: 0, scale: 3 } as never), /guidedVelocity: .*scale/],
    [
      'labels of another batch',
      () => {
        const s = scene('a');
        guidedVelocity(s.network, { ...s, y: tf.zeros([2], 'int32') }, { omega: 2, kappa: 0, nullLabel });
      },
      /guidedVelocity: y: wanted shape \[B=6\], got \[2\]/,
    ],
    [
      'a null label that is no whole number',
      () => {
        const s = scene('a');
        guidedVelocity(s.network, s, { omega: 2, kappa: 0, nullLabel: -1 });
      },
      /nullLabel: wanted a whole number of at least 0, got -1/,
    ],
    [
      'a network of another output',
      () => {
        const s = scene('a');
        guidedVelocity(() => tf.zeros([6, 2]), s, { omega: 2, kappa: 0, nullLabel });
      },
      /output of the network: wanted shape \[6, 3, 2\], got \[6, 2\]/,
    ],
    [
      'a probability above 1',
      () => {
        const s = scene('a');
        dropClasses(
          { y: s.y, guided: s.velocity, conditionalVelocity: s.velocity, uniform: s.t },
          { probability: 2, rule: 'row', nullLabel },
        );
      },
      /dropClasses: probability/,
    ],
    [
      'an unknown rule',
      () => {
        const s = scene('a');
        dropClasses(
          { y: s.y, guided: s.velocity, conditionalVelocity: s.velocity, uniform: s.t },
          { probability: 0.1, rule: 'column' as never, nullLabel },
        );
      },
      /dropClasses: rule/,
    ],
    [
      'velocities of different shapes',
      () => {
        const s = scene('a');
        dropClasses(
          { y: s.y, guided: s.velocity, conditionalVelocity: tf.zeros([6, 2]), uniform: s.t },
          { probability: 0.1, rule: 'row', nullLabel },
        );
      },
      /dropClasses: conditionalVelocity: wanted shape \[6, 3, 2\], got \[6, 2\]/,
    ],
  ])('%s is refused', (_, call, message) => expect(call).toThrow(message));
});
