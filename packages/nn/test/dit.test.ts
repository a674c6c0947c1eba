import fc from 'fast-check';
import { compile, disposeTree, flattenTree, jvp, Rng, tf, unflattenTree, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import { centralDifference, directionalDifference, expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { applyDiT, ditBlock, ditParameters, initDiT, multiHeadSelfAttention, type DiTParams, type DiTSettings } from '../src/index.ts';
import { hostDiT, type HostDiTSizes, type HostWeights } from './host-dit.ts';

beforeAll(async () => {
  await useEngine();
});

const settings = { inChannels: 3, patchSize: 2, width: 8, depth: 2, heads: 2, mlpRatio: 2, frequencySize: 6 } satisfies DiTSettings;

/** Random weights everywhere: with the official initial values every gate is zero, and the blocks would have no effect. */
function randomParams(rng: Rng, of: DiTSettings): DiTParams {
  const leaves = Object.entries(ditParameters(of)).map(([name, { shape }]) => [
    name,
    tf.tidy(() => tf.mul(rng.child(name).normal(shape), 0.4)),
  ]);
  return unflattenTree(Object.fromEntries(leaves)) as DiTParams;
}

const hostWeights = (params: DiTParams): HostWeights =>
  Object.fromEntries(Object.entries(flattenTree(params)).map(([name, leaf]) => [name, Float64Array.from(leaf.dataSync())]));

const hostSizes = (of: DiTSettings, H: number, W: number): HostDiTSizes => ({
  H,
  W,
  C: of.inChannels,
  outC: of.inChannels * (of.learnSigma ? 2 : 1),
  P: of.patchSize,
  D: of.width,
  K: of.heads,
  depth: of.depth,
  frequencySize: of.frequencySize!,
});

describe('applyDiT', () => {
  it('equals the float64 reference with every option, also on grids that are not square', () => {
    const side = fc.integer({ min: 1, max: 3 });
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.boolean(),
        fc.boolean(),
        side,
        side,
        fc.integer({ min: 1, max: 2 }),
        fc.integer(),
        (interval, labels, learnSigma, h, w, P, seed) => {
          const of = { ...settings, interval, learnSigma, patchSize: P, numClasses: labels ? 4 : 0 };
          const rng = new Rng(seed);
          const params = randomParams(rng, of);
          const [H, W] = [h * P, w * P];
          const x = rng.child('x').normal([2, H, W, 3]);
          const [t, k, y] = [
            [0.3, 0.9],
            [0.1, 0.7],
            [4, 2],
          ];
          const out = applyDiT(
            params,
            x,
            { t: tf.tensor1d(t), ...(interval ? { h: tf.tensor1d(k) } : {}), ...(labels ? { y: tf.tensor1d(y, 'int32') } : {}) },
            of,
          );
          const expected = hostDiT(
            hostWeights(params),
            Float64Array.from(x.dataSync()),
            { t, ...(interval ? { h: k } : {}), ...(labels ? { y } : {}) },
            hostSizes(of, H, W),
          );
          expect(out.shape).toEqual([2, H, W, learnSigma ? 6 : 3]);
          expectClose(out.dataSync(), expected, { max: 2e-5 });
        },
      ),
      { numRuns: 10 },
    );
  });

  it('multiplies both times by timeScale before their features', () => {
    const of = { ...settings, interval: true, timeScale: 10 };
    const params = randomParams(new Rng(3), of);
    const x = new Rng(4).normal([2, 4, 2, 3]);
    const out = applyDiT(params, x, { t: tf.tensor1d([0.5, 0.25]), h: tf.tensor1d([0.125, 0.25]) }, of);
    const same = applyDiT(params, x, { t: tf.tensor1d([5, 2.5]), h: tf.tensor1d([1.25, 2.5]) }, { ...of, timeScale: 1 });
    expectClose(out, same, { max: 1e-6 });
  });

  it('gradients of image, times and every parameter agree with float64 differences', () => {
    const of = { ...settings, width: 4, depth: 1, heads: 1, interval: true, numClasses: 2 };
    const rng = new Rng(21);
    const params = randomParams(rng, of);
    const x = rng.child('x').normal([2, 2, 4, 3]);
    const [t, h] = [tf.tensor1d([0.4, 0.8]), tf.tensor1d([0.2, 0.5])];
    const y = [2, 0];
    const cotangent = rng.child('w').normal([2, 2, 4, 3]);
    const tree = { params, x, t, h };
    const { grads } = valueAndGrad((at: typeof tree) => {
      const out = applyDiT(at.params, at.x, { t: at.t, h: at.h, y: tf.tensor1d(y, 'int32') }, of);
      return { loss: tf.sum(tf.mul(out, cotangent)), aux: {} };
    }, tree);
    const weights = hostWeights(params);
    const names = Object.keys(weights);
    const points = [...[x, t, h].map((v) => Float64Array.from(v.dataSync())), ...Object.values(weights)];
    const expected = centralDifference(
      (px, pt, ph, ...pw) =>
        hostDiT(Object.fromEntries(names.map((name, i) => [name, pw[i]!])), px!, { t: pt!, h: ph!, y }, hostSizes(of, 2, 4)),
      points,
      { cotangent: cotangent.dataSync() },
    );
    const got = flattenTree(grads);
    ['x', 't', 'h', ...names.map((name) => `params.${name}`)].forEach((name, i) =>
      expectClose(got[name]!.dataSync(), expected[i]!, { max: 2e-4, abs: 2e-5 }, name),
    );
  });

  it('forward mode along (v, 1, 1) agrees with the float64 difference', () => {
    const of = { ...settings, interval: true, numClasses: 3 };
    const rng = new Rng(22);
    const params = randomParams(rng, of);
    const [x, v] = [rng.child('x').normal([2, 4, 6, 3]), rng.child('v').normal([2, 4, 6, 3])];
    const [t, h, one] = [tf.tensor1d([0.4, 0.8]), tf.tensor1d([0.2, 0.5]), tf.ones([2])];
    const y = tf.tensor1d([1, 3], 'int32');
    const { tangent } = tf.tidy(() => jvp((...at) => applyDiT(params, at[0]!, { t: at[1]!, h: at[2]!, y }, of), [x, t, h], [v, one, one]));
    const expected = directionalDifference(
      (px, pt, ph) => hostDiT(hostWeights(params), px!, { t: pt!, h: ph!, y: [1, 3] }, hostSizes(of, 4, 6)),
      [x, t, h].map((at) => Float64Array.from(at.dataSync())),
      [v, one, one].map((at) => at.dataSync()),
    );
    expectClose(tangent.dataSync(), expected, { max: 1e-4 });
  });

  it('with new parameters is exactly 0 for every input, and each block is the identity', () => {
    const of = { ...settings, interval: true, numClasses: 3, learnSigma: true };
    const rng = new Rng(7);
    const params = initDiT(rng, of);
    const inputs = { t: tf.tensor1d([0, 1]), h: tf.tensor1d([0, 1]), y: tf.tensor1d([0, 3], 'int32') };
    const out = applyDiT(params, rng.child('x').normal([2, 4, 6, 3]), inputs, of);
    expectClose(out.dataSync(), new Float32Array(2 * 4 * 6 * 6));
    const tokens = rng.child('tokens').normal([2, 5, 8]);
    const attend = (u: Tensor): Tensor => multiHeadSelfAttention(params.blocks[0]!.attn, u, of.heads);
    expectClose(ditBlock(params.blocks[0]!, tokens, rng.child('c').normal([2, 8]), attend), tokens);
  });

  it('passes the index of each block to a replaced attention', () => {
    const of = settings;
    const params = randomParams(new Rng(5), of);
    const x = new Rng(6).normal([2, 4, 6, 3]);
    const t = tf.tensor1d([0.2, 0.7]);
    const places: unknown[] = [];
    const attention = (u: Tensor, place: { layer: number; h: number; w: number }): Tensor => {
      places.push(place);
      return multiHeadSelfAttention(params.blocks[place.layer]!.attn, u, of.heads);
    };
    expectClose(applyDiT(params, x, { t }, of, { attention }), applyDiT(params, x, { t }, of));
    expect(places).toEqual([
      { layer: 0, h: 2, w: 3 },
      { layer: 1, h: 2, w: 3 },
    ]);
  });

  it('runs compiled with the same result and leaves no tensor behind', async () => {
    const of = { ...settings, numClasses: 3 };
    const params = randomParams(new Rng(8), of);
    const [x, t, y] = [new Rng(9).normal([2, 2, 4, 3]), tf.tensor1d([0.1, 0.6]), tf.tensor1d([3, 1], 'int32')];
    const eager = tf.tidy(() => applyDiT(params, x, { t, y }, of));
    const run = compile((p: DiTParams, image: Tensor, time: Tensor, label: Tensor) => applyDiT(p, image, { t: time, y: label }, of));
    expectClose(run(params, x, t, y), eager, { max: 1e-5 });
    await expectNoLeak(() => run(params, x, t, y));
    await expectNoLeak(() => tf.tidy(() => applyDiT(params, x, { t, y }, of)));
    await expectNoLeak(() => disposeTree(initDiT(new Rng(1), of)));
  });

  it('refuses what does not fit', () => {
    const of = { ...settings, interval: true, numClasses: 3 };
    const params = initDiT(new Rng(1), of);
    const x = tf.zeros([2, 4, 4, 3]);
    const [t, y] = [tf.ones([2]), tf.ones([2], 'int32')];
    const inputs = { t, h: t, y };
    const run =
      (change: { x?: Tensor; inputs?: object; settings?: object; params?: object } = {}) =>
      (): Tensor =>
        applyDiT((change.params ?? params) as DiTParams, change.x ?? x, { ...inputs, ...change.inputs }, {
          ...of,
          ...change.settings,
        } as DiTSettings);
    expect(run()().shape).toEqual([2, 4, 4, 3]);
    expect(run({ x: tf.zeros([2, 4, 4, 4]) })).toThrow('applyDiT: x: wanted shape [B=2, H=4, W=4, C=3], got [2, 4, 4, 4]');
    expect(run({ x: tf.zeros([2, 4, 5, 3]) })).toThrow('patchify: x: wanted height and width divisible by the patch size 2, got 4 and 5');
    expect(run({ inputs: { t: tf.ones([3]) } })).toThrow('applyDiT: t: wanted shape [B=2], got [3]');
    expect(run({ inputs: { h: undefined } })).toThrow('applyDiT: h: wanted interval lengths [B], got none');
    expect(run({ settings: { interval: false } })).toThrow('applyDiT: h: wanted none without the interval setting, got some');
    expect(run({ inputs: { y: undefined } })).toThrow('applyDiT: y: wanted labels [B], got none');
    expect(run({ settings: { numClasses: 0 } })).toThrow('applyDiT: y: wanted none for a network without classes, got some');
    expect(run({ settings: { numClasses: 5 } })).toThrow('applyDiT: y_embedder: wanted shape [rows=6, D=8], got [4, 8]');
    expect(run({ settings: { depth: 3 } })).toThrow('applyDiT: params: wanted 3 blocks, got 2');
    expect(run({ settings: { heads: 3 } })).toThrow('applyDiT: heads: wanted a divisor of the width 8, got 3');
    expect(run({ settings: { width: 10, heads: 2 } })).toThrow('applyDiT: width: wanted a multiple of 4, got 10');
    expect(run({ settings: { hidden: 3 } })).toThrow("applyDiT: wanted only known keys, got 'hidden'");
    const plain = initDiT(new Rng(1), settings);
    expect(run({ params: plain, inputs: { y: undefined }, settings: { numClasses: 0 } })).toThrow(
      'applyDiT: params: wanted h_embedder for the interval setting, got none',
    );
    expect(run({ params: plain, inputs: { h: undefined }, settings: { interval: false } })).toThrow(
      'applyDiT: params: wanted y_embedder for a network with classes, got none',
    );
    expect(() => initDiT(new Rng(1), { ...of, depth: 0 })).toThrow('ditParameters: depth: ');
  });
});
