import { Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose, tensorDifference } from '@atelier/testkit';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  bitsPerDimension,
  blockForward,
  classify,
  conditioner,
  denoise,
  dequantize,
  patchify,
  permute,
  sequentialSampler,
  tarflowForward,
  tarflowLoss,
  tokenContext,
  tokenSizes,
  unpatchify,
  type GuidanceOptions,
  type SampleOptions,
} from '../src/index.ts';
import { labels, row, tiny, type Tiny } from './tiny-model.ts';

beforeAll(async () => {
  await useEngine();
});

function sampled({ model, config }: Tiny, noise: Tensor, options: SampleOptions = {}): Tensor {
  const sampler = sequentialSampler(config);
  const { images } = sampler.sample(model, noise, options);
  sampler.dispose();
  return images;
}

describe('patches', () => {
  it('come back as the images they were cut from, channel first inside a token', () => {
    const size = fc.integer({ min: 1, max: 3 });
    fc.assert(
      fc.property(fc.record({ B: size, h: size, w: size, S: size, C: size }), ({ B, h, w, S, C }) => {
        const x = tf.reshape(tf.range(0, B * h * S * w * S * C), [B, h * S, w * S, C]);
        const tokens = patchify(x, S);
        expect(tokens.shape).toEqual([B, h * w, C * S * S]);
        expectClose(unpatchify(tokens, { imageSize: [h * S, w * S], patchSize: S }), x, { abs: 0 });
        // The last token's first value is its top left pixel in channel 0.
        const corner = tf.slice(x, [0, (h - 1) * S, (w - 1) * S, 0], [B, 1, 1, 1]);
        expectClose(tf.slice(tokens, [0, h * w - 1, 0], [B, 1, 1]).reshape([B]), corner.reshape([B]), { abs: 0 });
      }),
      { numRuns: 20 },
    );
  });
});

describe('the flow', () => {
  it('comes back to the noise that it sampled from, with labels, without, and where it preserves the volume', () => {
    const settings = [
      {},
      { numClasses: 0 },
      { volumePreserving: true },
      { patchSize: 1, imageSize: [3, 2] as [number, number] },
      { blocks: 2, layers: 1 },
    ];
    for (const setting of settings) {
      const flow = tiny(setting);
      const z = flow.noise(3);
      const y = flow.config.numClasses > 0 ? labels(2, -1, 0) : undefined;
      const x = sampled(flow, z, y && { y });
      expectClose(tarflowForward(flow.model, x, flow.config, y).z, z, { abs: 1e-4 }, JSON.stringify(setting));
      expect(tf.max(tf.abs(tf.sub(patchify(x, flow.config.patchSize), z))).dataSync()[0]).toBeGreaterThan(0.1);
    }
  });

  it('samples one image from one token', () => {
    const flow = tiny({ imageSize: 2, numClasses: 0 });
    const z = flow.noise(2);
    expectClose(patchify(sampled(flow, z), 2), z, { abs: 1e-6 }); // nothing stands before the first token
  });

  it('is causal: a token changes only the log-scale and shift of later tokens, in the order of its block', () => {
    const { model, config } = tiny();
    const { T, D } = tokenSizes(config);
    const rng = new Rng('causal');
    const x = rng.normal([2, T, D]);
    for (const k of [0, 1]) {
      const p = model.blocks[k]!;
      for (let j = 0; j < T; j++) {
        const place = k === 0 ? j : T - 1 - j;
        const touched = tf.reshape(tf.oneHot(tf.tensor1d([place], 'int32'), T), [1, T, 1]);
        const changed = tf.add(x, touched);
        const [before, after] = [x, changed].map((input) => permute(blockForward(p, k, input, config, labels(0, 1)).z, k)) as [
          Tensor,
          Tensor,
        ];
        const moves = tf.max(tf.abs(tf.sub(after, before)), [0, 2]).dataSync();
        moves.forEach((move, t) => (t < j ? expect(move, `block ${k}, ${j} on ${t}`).toBe(0) : expect(move).toBeGreaterThan(1e-6)));
        // α and μ of the token itself are moved only behind it, which the shift by one takes away.
        const raw = [x, changed].map((input) => conditioner(p, permute(input, k), config, { context: tokenContext(p, k) }));
        for (const part of ['alpha', 'mu'] as const) {
          const moved = tf.max(tf.abs(tf.sub(raw[1]![part], raw[0]![part])), [0, 2]).dataSync();
          moved.forEach((move, t) => (t < j ? expect(move).toBe(0) : expect(move).toBeGreaterThan(1e-7)));
        }
      }
    }
  });

  it('has the log-determinant of its Jacobian, taken by differences', () => {
    const flow = tiny({ imageSize: [2, 4], patchSize: 2, inChannels: 2, numClasses: 0 });
    const n = 16;
    const x = row(flow.images(1), 0);
    const step = 1e-2;
    const columns = Array.from({ length: n }, (_, i) => {
      const e = tf.reshape(tf.mul(tf.oneHot(tf.tensor1d([i], 'int32'), n), step), x.shape);
      const [up, down] = [tf.add(x, e), tf.sub(x, e)].map((at) => tarflowForward(flow.model, at, flow.config).z.dataSync());
      return Array.from(up!, (value, j) => (value - down![j]!) / (2 * step));
    });
    const { logDet } = tarflowForward(flow.model, x, flow.config);
    expectClose([logAbsDet(columns) / n], logDet.dataSync(), { abs: 1e-4 });
    expect(Math.abs(logDet.dataSync()[0]!)).toBeGreaterThan(1e-2);
  });

  it('with constant blocks samples by the closed form', () => {
    const flow = tiny({ blocks: 1, numClasses: 0 }, 0);
    const z = flow.noise(2);
    const { T, D } = tokenSizes(flow.config);
    const [a, m] = tf.split(flow.model.blocks[0]!.proj_out.bias, 2) as [Tensor, Tensor];
    const rest = tf.add(tf.mul(tf.slice(z, [0, 1, 0], [2, T - 1, D]), tf.exp(a)), m);
    expectClose(patchify(sampled(flow, z), 2), tf.concat([tf.slice(z, [0, 0, 0], [2, 1, D]), rest], 1), { abs: 1e-5 });
  });

  it('the gradient of its loss agrees with central differences', () => {
    const flow = tiny({ imageSize: [2, 4], inChannels: 1, blocks: 2, layers: 1 });
    const x = flow.images(2);
    const y = labels(1, -1);
    const loss = (images: Tensor): Tensor => tarflowLoss(flow.model, images, flow.config, y).loss;
    expectClose(tf.grad(loss)(x), tensorDifference(loss, [x], { step: 1e-2 })[0]!, { abs: 2e-3 });
  });
});

describe('labels', () => {
  it('of -1 mean no label, and each image of a mixed batch has the same result as by itself', () => {
    const flow = tiny();
    const [x, z] = [flow.images(3), flow.noise(3)];
    const run = (y?: Tensor, b?: number): Tensor[] => {
      const pick = (all: Tensor): Tensor => (b === undefined ? all : row(all, b));
      const out = tarflowForward(flow.model, pick(x), flow.config, y);
      return [out.z, out.logDet, sampled(flow, pick(z), y && { y })];
    };
    const none = run();
    run(labels(-1, -1, -1)).forEach((value, i) => expectClose(value, none[i]!, { abs: 1e-6 }, `all -1, ${i}`));
    const y = [1, -1, 2];
    const mixed = run(labels(...y));
    y.forEach((label, b) =>
      run(labels(label), b).forEach((value, i) => expectClose(value, row(mixed[i]!, b), { abs: 2e-6 }, `${b}, ${i}`)),
    );
    expect(tf.max(tf.abs(tf.sub(mixed[2]!, none[2]!))).dataSync()[0]).toBeGreaterThan(1e-2);
  });

  it('are recognised by the likelihood: the class with the smallest loss is chosen', () => {
    const flow = tiny();
    const x = flow.images(4);
    const { labels: chosen, losses } = classify(flow.model, x, flow.config);
    expect(losses.shape).toEqual([4, 3]);
    const values = losses.arraySync() as number[][];
    for (const n of [0, 1, 2]) {
      const { loss } = tarflowLoss(flow.model, x, flow.config, labels(n, n, n, n));
      expectClose([values.reduce((sum, of) => sum + of[n]!, 0) / 4], loss.dataSync(), { abs: 1e-5 });
    }
    expect(Array.from(chosen.dataSync())).toEqual(values.map((of) => of.indexOf(Math.min(...of))));
  });
});

describe('guidance', () => {
  it('of weight 0 changes no bit; without labels and at temperature 1 it has no effect and a warning says so', () => {
    const flow = tiny();
    const z = flow.noise(2);
    const y = labels(0, 2);
    const same: [SampleOptions, SampleOptions, number][] = [
      [{ y, guidance: { weight: 0, temperature: 2, annealed: true } }, { y }, 0],
      [{ guidance: { weight: 3 } }, {}, 1e-6],
      [{ guidance: { weight: 7, annealed: true, what: 'a' } }, {}, 1e-6],
      [{ y: labels(-1, -1), guidance: { weight: 2 } }, {}, 1e-5],
    ];
    for (const [options, plain, abs] of same)
      expectClose(sampled(flow, z, options), sampled(flow, z, plain), { abs }, JSON.stringify(options.guidance));
  });

  it('every setting gives different images, and the first token of the last block is not changed', () => {
    const flow = tiny();
    const z = flow.noise(2);
    const y = labels(0, 2);
    const guides: GuidanceOptions[] = [
      { weight: 1 },
      { weight: 1, what: 'a' },
      { weight: 1, what: 'b' },
      { weight: 1, annealed: true },
      { weight: 1, temperature: 2 },
    ];
    const images = [undefined, ...guides].map((guidance) => sampled(flow, z, { y, ...(guidance && { guidance }) }));
    images.forEach((a, i) => images.slice(0, i).forEach((b) => expect(tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]).toBeGreaterThan(1e-3)));
    // In the last block to be inverted the first token has nothing before it, so guidance cannot reach it.
    const one = tiny({ blocks: 1 });
    const [plain, guided] = [undefined, { weight: 2 }].map((guidance) =>
      patchify(sampled(one, z, { y, ...(guidance && { guidance }) }), 2),
    );
    expectClose(tf.slice(guided!, [0, 0, 0], [2, 1, -1]), tf.slice(plain!, [0, 0, 0], [2, 1, -1]), { abs: 0 });
  });

  it('of a class-free model without temperature is a warning in the result, with one it is not', () => {
    const flow = tiny({ numClasses: 0 });
    const sampler = sequentialSampler(flow.config);
    const z = flow.noise(2);
    const warn = (guidance?: GuidanceOptions): string[] => sampler.sample(flow.model, z, guidance ? { guidance } : {}).warnings;
    expect(warn({ weight: 1.5 })).toEqual([
      'guidance 1.5 has no effect: the model has no classes and the attention temperature is 1, so both branches are the same',
    ]);
    expect([warn({ weight: 1.5, temperature: 0.5 }), warn({ weight: 0 }), warn()]).toEqual([[], [], []]);
    expectClose(sampler.sample(flow.model, z, { guidance: { weight: 1.5 } }).images, sampler.sample(flow.model, z, {}).images, {
      abs: 1e-6,
    });
    const colder = sampler.sample(flow.model, z, { guidance: { weight: 1.5, temperature: 0.5 } }).images;
    expect(tf.max(tf.abs(tf.sub(colder, sampler.sample(flow.model, z, {}).images))).dataSync()[0]).toBeGreaterThan(1e-3);
    sampler.dispose();
    const labelled = tiny();
    const other = sequentialSampler(labelled.config);
    expect(other.sample(labelled.model, z, { guidance: { weight: 2 } }).warnings[0]).toMatch(/there are no labels/);
    other.dispose();
  });
});

describe('denoising', () => {
  it('of an image does not depend on the others', () => {
    const flow = tiny();
    const x = flow.images(3);
    const y = [2, -1, 0];
    const all = denoise(flow.model, x, flow.config, { sigma: 0.3, multiplier: 1.2, y: labels(...y) });
    y.forEach((label, b) =>
      expectClose(denoise(flow.model, row(x, b), flow.config, { sigma: 0.3, multiplier: 1.2, y: labels(label) }), row(all, b), {
        abs: 1e-5,
      }),
    );
  });

  it('with constant blocks is that of a Gaussian: x̂ = x - σ²(x - m)/v', () => {
    const flow = tiny({ numClasses: 0 }, 0);
    const x = flow.images(2);
    // z = s·x + c in every place, so that m = -c/s and v = 1/s².
    const zero = tf.zerosLike(x);
    const [c, one] = [zero, tf.onesLike(x)].map((at) => tarflowForward(flow.model, at, flow.config).z) as [Tensor, Tensor];
    const s = unpatchify(tf.sub(one, c), flow.config);
    const m = tf.neg(tf.div(unpatchify(c, flow.config), s));
    const sigma = 0.4;
    const expected = tf.sub(x, tf.mul(tf.mul(tf.sub(x, m), tf.square(s)), sigma ** 2));
    expectClose(denoise(flow.model, x, flow.config, { sigma }), expected, { abs: 1e-5 });
    expectClose(denoise(flow.model, x, flow.config, { sigma: 0 }), x, { abs: 0 });
  });
});

describe('bits per dimension', () => {
  it('are the loss in bits, with the constants of the prior and of 8-bit pixels', () => {
    const flow = tiny();
    const rng = new Rng('pixels');
    const pixels = tf.tensor(rng.child('n').integers(3 * 4 * 6 * 3, 0, 256), [3, 4, 6, 3], 'int32');
    const x = dequantize(pixels, rng.child('u').uniform([3, 4, 6, 3]));
    expect([tf.min(x).dataSync()[0]! >= -1, tf.max(x).dataSync()[0]! < 1]).toEqual([true, true]);
    const { bits } = bitsPerDimension(flow.model, x, flow.config);
    const loss = tarflowLoss(flow.model, x, flow.config).loss.dataSync()[0]!;
    expectClose([tf.mean(bits).dataSync()[0]!], [(loss + 0.5 * Math.log(2 * Math.PI) + Math.log(128)) / Math.LN2], { abs: 1e-5 });
  });
});

/** log|det| by Gaussian elimination. */
function logAbsDet(matrix: number[][]): number {
  const a = matrix.map((line) => [...line]);
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    const pivot = a.slice(i).reduce((best, line, at) => (Math.abs(line[i]!) > Math.abs(a[best]![i]!) ? i + at : best), i);
    [a[i], a[pivot]] = [a[pivot]!, a[i]!];
    sum += Math.log(Math.abs(a[i]![i]!));
    for (const line of a.slice(i + 1)) {
      const factor = line[i]! / a[i]![i]!;
      for (let j = i; j < a.length; j++) line[j]! -= factor * a[i]![j]!;
    }
  }
  return sum;
}
