import { perSample, Rng, type Tensor, tf, useEngine, valueAndGrad } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  instantaneousVelocity,
  averageVelocityAndDerivative,
  correctTangent,
  flowStep,
  meanFlowLoss,
  sampleMeanFlow,
  wrongTangents,
  type AverageVelocity,
  type MeanFlowOptions,
} from '../src/index.ts';
import { flowMatchingLoss, integrateVelocity, weightedError } from '@atelier/diffusion';
import { gaussianWorld } from './gaussian-world.ts';
import { testBatch, testNetwork, testParams, type TestParams } from './networks.ts';

const world = gaussianWorld([0.7, -0.4], 0.5);

/** A grid of pairs, t in [0.1, 1] and r in [0, 0.95·t], each with a random point z. */
function timeLattice(rng: Rng): { z: Tensor; t: Tensor; r: Tensor } {
  const lattice = Array.from({ length: 13 }, (_, i) => 0.1 + (0.9 * i) / 12).flatMap((t) =>
    Array.from({ length: 11 }, (_, j) => [t, (0.95 * t * j) / 10] as const),
  );
  return { z: rng.normal([lattice.length, 2]), t: tf.tensor1d(lattice.map(([t]) => t)), r: tf.tensor1d(lattice.map(([, r]) => r)) };
}

/** Loss and gradients of the test network's parameters. */
function trained(params: TestParams, batch: ReturnType<typeof testBatch>, options: MeanFlowOptions) {
  return tf.tidy(() =>
    valueAndGrad((p: TestParams) => {
      const parts = meanFlowLoss(testNetwork(p), batch, options);
      return { loss: parts.loss, aux: parts };
    }, params),
  );
}

beforeAll(async () => {
  await useEngine();
});

describe('the identity and the flow of a Gaussian', () => {
  it('1: u = v - (t - r)·du/dt', () => {
    const { z, t, r } = timeLattice(new Rng('invariant 1'));
    const v = world.velocity(z, t);
    const { u, dudt } = averageVelocityAndDerivative(world.averageVelocity, { z, t, r, tangent: v });
    expectClose(tf.add(tf.sub(u, v), tf.mul(perSample(tf.sub(t, r), z), dudt)), tf.zerosLike(z), { abs: 5e-6 });
  });

  it('2: (t - r)·u(z_t, r, t) = (s - r)·u(z_s, r, s) + (t - s)·u(z_t, s, t)', () => {
    const { z, t, r } = timeLattice(new Rng('invariant 2'));
    for (const share of [0, 0.3, 0.8, 1]) {
      const s = tf.add(r, tf.mul(tf.sub(t, r), share));
      const displacement = (at: Tensor, from: Tensor, to: Tensor): Tensor =>
        tf.mul(perSample(tf.sub(from, to), at), world.averageVelocity(at, from, tf.sub(from, to)));
      expectClose(
        tf.add(displacement(world.flowMap(z, t, s), s, r), displacement(z, t, s)),
        displacement(z, t, r),
        { abs: 5e-6 },
        `s at ${share}`,
      );
    }
  });

  it('3: samples are μ + s·e on any grid', () => {
    const e = new Rng('invariant 3').normal([64, 2]);
    const wanted = tf.add(tf.tensor([0.7, -0.4]), tf.mul(e, 0.5));
    for (const grid of [
      [1, 0],
      [1, 0.93, 0.5, 0.45, 0.1, 0],
      [1, 0.5, 0],
    ]) {
      expectClose(sampleMeanFlow(world.averageVelocity, e, { grid }), wanted, { abs: 5e-6 }, `grid ${grid.join(', ')}`);
    }
    const half = flowStep(world.averageVelocity, e, 1, 0.4);
    expectClose(half, world.flowMap(e, tf.fill([64], 1), tf.fill([64], 0.4)), { abs: 5e-6 }, 'half way');
  });

  it('8: the mean of the target over the posterior of x given z equals u(z, r, t), within four standard errors', () => {
    const [draws, t, r] = [200_000, 0.6, 0.2];
    const z = [0.5, 0.3];
    const rng = new Rng('invariant 8');
    const { mean, std } = world.posterior(z, t);
    const { targets, u } = tf.tidy(() => {
      const x = tf.add(tf.tensor(mean), tf.mul(rng.normal([draws, 2]), std));
      const points = tf.tile(tf.tensor2d([z]), [draws, 1]);
      const e = tf.div(tf.sub(points, tf.mul(x, 1 - t)), t);
      const parts = meanFlowLoss(world.averageVelocity, { x, e, t: tf.fill([draws], t), r: tf.fill([draws], r) }, { p: 0, c: 0 });
      return { targets: parts.target, u: world.averageVelocity(tf.tensor2d([z]), tf.tensor1d([t]), tf.tensor1d([t - r])) };
    });
    const { mean: average, variance } = tf.moments(targets, 0);
    const [got, wanted, spread] = [average.dataSync(), u.dataSync(), variance.dataSync()];
    for (const i of [0, 1]) {
      expect(spread[i]).toBeGreaterThan(0.01);
      expect(Math.abs(got[i]! - wanted[i]!)).toBeLessThan(4 * Math.sqrt(spread[i]! / draws));
    }
  });

  it('13: the exact flow-matching field takes all noise to the data mean in one Euler step, many steps reproduce the data', () => {
    const e = new Rng('invariant 13').normal([64, 2]);
    const field: AverageVelocity = (z, t) => world.velocity(z, t);
    expectClose(integrateVelocity(instantaneousVelocity(field), e, { grid: [1, 0] }), tf.tile(tf.tensor2d([[0.7, -0.4]]), [64, 1]), {
      abs: 5e-6,
    });
    const exact = tf.add(tf.tensor([0.7, -0.4]), tf.mul(e, 0.5));
    const error = (method: 'euler' | 'heun', steps: number): number =>
      tf
        .max(
          tf.abs(
            tf.sub(
              integrateVelocity(instantaneousVelocity(field), e, {
                grid: Array.from({ length: steps + 1 }, (_, k) => 1 - k / steps),
                method,
              }),
              exact,
            ),
          ),
        )
        .dataSync()[0]!;
    // Halving the step divides the error by 2 (first order) and by 4 (second order); float32 rounding leaves some slack.
    expect(error('euler', 16) / error('euler', 32)).toBeGreaterThan(1.7);
    expect(error('heun', 16) / error('heun', 32)).toBeGreaterThan(3.3);
  });
});

describe('the loss', () => {
  it('4: if every row has r = t, loss and gradients are those of flow matching, and the derivative D has no effect', () => {
    const rng = new Rng('invariant 4');
    const params = testParams(rng, 6);
    for (const p of [0, 0.75, 1]) {
      const batch = testBatch(rng, [8, 3, 2], 8);
      const flow = tf.tidy(() =>
        valueAndGrad(
          (q: TestParams) => ({ loss: flowMatchingLoss(instantaneousVelocity(testNetwork(q)), batch, { p, c: 0.01 }).loss, aux: {} }),
          params,
        ),
      );
      for (const movingRows of [undefined, [8, 8]] as const) {
        const mean = trained(params, batch, { p, c: 0.01, ...(movingRows && { movingRows }) });
        expectClose(mean.loss, flow.loss, { rel: 1e-6 });
        for (const key of Object.keys(params) as (keyof TestParams)[])
          expectClose(mean.grads[key], flow.grads[key], { rel: 1e-6, max: 1e-6 }, key);
      }
      // The derivative was there and did not matter.
      expect(tf.max(tf.abs(trained(params, batch, { p, c: 0.01 }).aux.dudt)).dataSync()[0]).toBeGreaterThan(0.1);
    }
  });

  it('5: for N = a·z + b·t + g·h, D = a·v + b + g, and the gradients are those with the target held fixed', () => {
    const rng = new Rng('invariant 5');
    const batch = testBatch(rng, [7, 3, 2]);
    const values = { a: 0.8, b: -1.3, g: 0.6 };
    const params = { a: tf.scalar(values.a), b: tf.scalar(values.b), g: tf.scalar(values.g) };
    const linear =
      ({ a, b, g }: typeof params): AverageVelocity =>
      (z, t, h) =>
        tf.add(tf.mul(a, z), perSample(tf.add(tf.mul(b, t), tf.mul(g, h)), z));
    for (const [p, c] of [
      [0, 0.001],
      [0.75, 0.001],
      [1, 0.01],
    ] as const) {
      const { grads, aux } = tf.tidy(() =>
        valueAndGrad((q: typeof params) => {
          const parts = meanFlowLoss(linear(q), batch, { p, c });
          return { loss: parts.loss, aux: parts };
        }, params),
      );
      expectClose(aux.dudt, tf.add(tf.mul(tf.sub(batch.e, batch.x), values.a), values.b + values.g), { rel: 1e-5, max: 1e-6 }, 'D');
      const pulled = tf.mul(perSample(tf.mul(aux.weight, 2 / 7), aux.u), tf.sub(aux.u, aux.target)); // (2/B)·w·Δ
      const against = (factor: Tensor): Tensor => tf.sum(tf.mul(pulled, factor));
      expectClose(grads.a, against(aux.z), { rel: 1e-5 }, 'dLoss/da');
      expectClose(grads.b, against(perSample(batch.t, aux.z)), { rel: 1e-5 }, 'dLoss/db');
      expectClose(grads.g, against(perSample(tf.sub(batch.t, batch.r), aux.z)), { rel: 1e-5 }, 'dLoss/dg');
    }
  });

  it('7: the derivative is linear in its direction', () => {
    const rng = new Rng('invariant 7');
    const network = testNetwork(testParams(rng, 6));
    const { x: z, e: tangent, t, r, y } = testBatch(rng, [6, 3, 2]);
    const along = (direction: { z: number; r: number; t: number }): Tensor =>
      averageVelocityAndDerivative(network, { z, t, r, y, tangent }, { direction }).dudt;
    expectClose(along({ z: -2.5, r: 0, t: -2.5 }), tf.mul(along(correctTangent), -2.5), { rel: 1e-5, max: 1e-6 }, 'scaled');
    expectClose(
      tf.sub(along(correctTangent), along(wrongTangents['0,0,1'])),
      along(wrongTangents['v,0,0']),
      { rel: 1e-5, max: 1e-6 },
      'difference',
    );
    expectClose(
      tf.add(along(wrongTangents['v,1,0']), along(wrongTangents['0,0,1'])),
      along(wrongTangents['v,1,1']),
      { rel: 1e-5, max: 1e-6 },
      'sum',
    );
  });

  it('11: weights are 1 for p = 0, p = 1 gives the gradient of log S, and a k times larger error gives a gradient times k^(1 - 2p)', () => {
    const rng = new Rng('invariant 11');
    const [u, target] = [rng.normal([5, 3, 2]), rng.normal([5, 3, 2])];
    const at = (factor: number, p: number, c: number) =>
      tf.tidy(() =>
        valueAndGrad(
          ({ delta }: { delta: Tensor }) => {
            const parts = weightedError(tf.add(target, delta), target, { p, c });
            return { loss: parts.loss, aux: parts };
          },
          { delta: tf.mul(tf.sub(u, target), factor) },
        ),
      );
    expectClose(at(1, 0, 0.01).aux.weight, tf.ones([5]), { abs: 0 }, 'p = 0');
    const one = at(1, 1, 1e-12);
    expectClose(one.aux.lossPerSample, tf.ones([5]), { rel: 1e-5 }, 'p = 1');
    const logarithm = tf.grad((delta: Tensor) => tf.mean(tf.log(tf.sum(tf.square(tf.reshape(delta, [5, 6])), 1))))(tf.sub(u, target));
    expectClose(one.grads.delta, logarithm, { rel: 1e-5, max: 1e-6 }, 'gradient of log S');
    for (const p of [0, 0.5, 0.75, 1, 1.5]) {
      const k = 3;
      expectClose(
        at(k, p, 1e-12).grads.delta,
        tf.mul(at(1, p, 1e-12).grads.delta, k ** (1 - 2 * p)),
        { rel: 1e-5, max: 1e-6 },
        `scaling at p = ${p}`,
      );
    }
    // A sum over the elements, not their mean.
    expectClose(one.aux.squaredError, tf.sum(tf.square(tf.sub(u, target)), [1, 2]), { rel: 1e-6 }, 'S');
  });

  it('15: loss and gradients of a batch are the means of those of its halves', () => {
    const rng = new Rng('invariant 15');
    const params = testParams(rng, 6);
    const batch = testBatch(rng, [8, 3, 2], 3);
    const half = (from: number) =>
      Object.fromEntries(Object.entries(batch).map(([key, value]) => [key, tf.slice(value, from, 4)])) as ReturnType<typeof testBatch>;
    const options = { p: 0.75, c: 0.001 };
    const [whole, first, second] = [trained(params, batch, options), trained(params, half(0), options), trained(params, half(4), options)];
    const average = (a: Tensor, b: Tensor): Tensor => tf.mul(tf.add(a, b), 0.5);
    expectClose(whole.loss, average(first.loss, second.loss), { rel: 1e-5 });
    for (const key of Object.keys(params) as (keyof TestParams)[])
      expectClose(whole.grads[key], average(first.grads[key], second.grads[key]), { rel: 1e-5, max: 1e-6 }, key);
  });

  it('leaving rows with r = t out of the JVP changes neither loss nor gradients', () => {
    const rng = new Rng('moving rows');
    const params = testParams(rng, 6);
    const batch = testBatch(rng, [8, 3, 2], 5);
    const [all, cut] = [trained(params, batch, { p: 1, c: 0.01 }), trained(params, batch, { p: 1, c: 0.01, movingRows: [5, 8] })];
    for (const key of ['loss', 'u', 'target', 'squaredError', 'weight'] as const)
      expectClose(cut.aux[key], all.aux[key], { rel: 1e-6, max: 1e-6 }, key);
    for (const key of Object.keys(params) as (keyof TestParams)[])
      expectClose(cut.grads[key], all.grads[key], { rel: 1e-6, max: 1e-6 }, key);
    expectClose(tf.slice(cut.aux.dudt, [5, 0, 0], [3, 3, 2]), tf.slice(all.aux.dudt, [5, 0, 0], [3, 3, 2]), { rel: 1e-6, max: 1e-6 }, 'D');
  });
});
