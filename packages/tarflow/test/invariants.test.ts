import { Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  bitsPerDimension,
  blockForward,
  denoise,
  patchify,
  sequentialSampler,
  tarflowConfig,
  tarflowForward,
  tarflowLoss,
  tokenSizes,
  type TarFlow,
  type TarFlowSettings,
} from '../src/index.ts';
import { randomModel, tiny } from './tiny-model.ts';

beforeAll(async () => {
  await useEngine();
});

const B = 3;
const sizes = (settings: TarFlowSettings): { T: number; D: number } => tokenSizes(tarflowConfig.parse(settings));
const imagesOf = (rng: Rng, count = B): Tensor => tf.mul(rng.normal([count, ...tiny.imageSize, 3]), 0.5);
const noiseOf = (rng: Rng, settings: TarFlowSettings, count = B): Tensor => {
  const { T, D } = sizes(settings);
  return rng.normal([count, T, D]);
};
const labels = (...values: number[]): Tensor => tf.tensor1d(values, 'int32');

describe('the flow and its inverse', () => {
  it.each([
    ['affine', tiny],
    ['volume-preserving', { ...tiny, volumePreserving: true }],
    ['with classes', { ...tiny, numClasses: 4 }],
  ] as const)('noise → images → noise is the identity: %s', (name, settings) => {
    const rng = new Rng(`round trip ${name}`);
    const model = randomModel(name, settings);
    const y = 'numClasses' in settings ? { y: labels(0, 3, -1) } : {};
    const z = noiseOf(rng, settings);
    const sampler = sequentialSampler(settings);
    const { images } = sampler(model, z, y);
    expectClose(tarflowForward(model, images, settings, y.y).z, z, { abs: 1e-4 });
    expect(sampler.graphs).toBe(1);
    sampler.dispose();
  });

  it('is causal: a token changes nothing before it, and what stands at its own place only directly', () => {
    const rng = new Rng('causality');
    const model = randomModel('causality', tiny);
    const config = tarflowConfig.parse(tiny);
    const { T, D } = sizes(tiny);
    const x = rng.normal([2, T, D]);
    for (const k of [0, 1]) {
      for (const j of [0, 2, T - 1]) {
        // The place of token j of the block's order in the image's.
        const place = k === 0 ? j : T - 1 - j;
        const bump = tf.oneHot(tf.tensor1d([place], 'int32'), T).reshape([1, T, 1]);
        const [before, after] = [x, tf.add(x, bump)].map(
          (tokens) => blockForward(model.blocks[k]!, k, tokens, config).z.arraySync() as number[][][],
        );
        for (let t = 0; t < T; t++) {
          const at = k === 0 ? t : T - 1 - t;
          const same = JSON.stringify(before!.map((rows) => rows[at])) === JSON.stringify(after!.map((rows) => rows[at]));
          expect(same, `block ${k}, token ${j} changed, token ${t}`).toBe(t < j);
        }
      }
    }
  });

  it('states the log-determinant of its Jacobian, per dimension', () => {
    const settings = { imageSize: [4, 4] as [number, number], inChannels: 1, patchSize: 2, width: 8, headSize: 4, blocks: 2, layers: 1 };
    const model = randomModel('log-det', settings, 0.3);
    const n = 16;
    const x = new Rng('log-det x').normal([1, 4, 4, 1]);
    const step = 1e-2;
    // Central differences along all axes at once, as a batch.
    const moved = (sign: number): number[][] =>
      tarflowForward(model, tf.add(tf.tile(x, [n, 1, 1, 1]), tf.reshape(tf.mul(tf.eye(n), sign * step), [n, 4, 4, 1])), settings)
        .z.reshape([n, n])
        .arraySync() as number[][];
    const [up, down] = [moved(1), moved(-1)];
    const jacobian = up.map((row, i) => row.map((value, j) => (value - down[i]![j]!) / (2 * step)));
    const stated = tarflowForward(model, x, settings).logDet.dataSync()[0]!;
    expect(Math.abs(logAbsDeterminant(jacobian) / n - stated)).toBeLessThan(1e-4 * (1 + Math.abs(stated)));
  });
});

/** By elimination with pivots. */
function logAbsDeterminant(matrix: number[][]): number {
  const rows = matrix.map((row) => [...row]);
  let sum = 0;
  for (let i = 0; i < rows.length; i++) {
    const pivot = rows.slice(i).reduce((best, row, at) => (Math.abs(row[i]!) > Math.abs(rows[best]![i]!) ? i + at : best), i);
    [rows[i], rows[pivot]] = [rows[pivot]!, rows[i]!];
    sum += Math.log(Math.abs(rows[i]![i]!));
    for (let j = i + 1; j < rows.length; j++) {
      const share = rows[j]![i]! / rows[i]![i]!;
      for (let c = i; c < rows.length; c++) rows[j]![c]! -= share * rows[i]![c]!;
    }
  }
  return sum;
}

describe('guidance', () => {
  const settings = { ...tiny, numClasses: 3 };

  it('of weight 0 is no guidance, bit for bit', () => {
    const model = randomModel('guidance', settings);
    const sampler = sequentialSampler(settings);
    const z = noiseOf(new Rng('guidance'), settings);
    const y = labels(0, 2, 1);
    expectClose(sampler(model, z, { y, guidance: { weight: 0 } }).images, sampler(model, z, { y }).images, { abs: 0 });
    sampler.dispose();
  });

  it.each([1, 3.4])('without labels and at temperature 1 does nothing at weight %d, and says so', (weight) => {
    const model = randomModel('guidance', settings);
    const sampler = sequentialSampler(settings);
    const z = noiseOf(new Rng('guidance'), settings);
    const guided = sampler(model, z, { guidance: { weight, annealed: true } });
    expectClose(guided.images, sampler(model, z).images, { abs: 1e-6 });
    expect(guided.warnings).toEqual([
      `guidance ${weight} has no effect: there are no labels and the attention temperature is 1, so both branches are the same`,
    ]);
    expect(sampler(model, z, { guidance: { weight, temperature: 0.5 } }).warnings).toEqual([]);
    sampler.dispose();
  });
});

describe('classes', () => {
  const settings = { ...tiny, numClasses: 3 };

  it('none is the same as no labels, and a mixed batch the same as its images one by one', () => {
    const model = randomModel('classes', settings);
    const x = imagesOf(new Rng('classes'));
    expectClose(tarflowForward(model, x, settings, labels(-1, -1, -1)).z, tarflowForward(model, x, settings).z, { abs: 1e-6 });
    const y = [2, -1, 0];
    const mixed = tarflowForward(model, x, settings, labels(...y)).z;
    y.forEach((label, i) => {
      const alone = tarflowForward(model, tf.slice(x, [i, 0, 0, 0], [1, -1, -1, -1]), settings, labels(label)).z;
      expectClose(tf.slice(mixed, [i, 0, 0], [1, -1, -1]), alone, { abs: 1e-6 });
    });
  });
});

describe('denoising', () => {
  it('of a batch is that of its images one by one', () => {
    const model = randomModel('denoise', tiny);
    const x = imagesOf(new Rng('denoise'));
    const together = denoise(model, x, tiny, { sigma: 0.2 });
    for (let i = 0; i < B; i++) {
      const alone = denoise(model, tf.slice(x, [i, 0, 0, 0], [1, -1, -1, -1]), tiny, { sigma: 0.2 });
      expectClose(tf.slice(together, [i, 0, 0, 0], [1, -1, -1, -1]), alone, { abs: 1e-5 });
    }
  });

  it('under a flow that is one affine map takes the step that a Gaussian asks for', () => {
    const [sigma, settings] = [0.3, tiny];
    const model = randomModel('gaussian', settings, 0);
    const x = imagesOf(new Rng('gaussian'));
    const { T, D } = sizes(settings);
    // z = (x - m)/√v, composed of (x - b_μ)·e^{-b_α} for every token but the first of each block's order.
    const scale = new Float64Array(T * D).fill(1);
    const shift = new Float64Array(T * D);
    model.blocks.forEach((block, k) => {
      const bias = block.proj_out.bias.dataSync();
      for (let t = 0; t < T; t++) {
        if (t === (k % 2 === 0 ? 0 : T - 1)) continue;
        for (let d = 0; d < D; d++) {
          const [i, factor] = [t * D + d, Math.exp(-bias[d]!)];
          scale[i]! *= factor;
          shift[i] = (shift[i]! - bias[D + d]!) * factor;
        }
      }
    });
    // ∂ log p/∂x = -scale·z with z = scale·x + shift.
    const tokens = patchify(x, settings.patchSize).dataSync();
    const wanted = Float32Array.from(tokens, (value, i) => {
      const [a, b] = [scale[i % (T * D)]!, shift[i % (T * D)]!];
      return value - sigma ** 2 * a * (a * value + b);
    });
    expectClose(patchify(denoise(model, x, settings, { sigma }), settings.patchSize), tf.tensor(wanted, [B, T, D]), { abs: 1e-5 });
  });
});

describe('likelihood', () => {
  it('mean bits per dimension are (loss + ½ log 2π + log 128) / log 2', () => {
    const model = randomModel('bits', tiny);
    const x = imagesOf(new Rng('bits'));
    const loss = tarflowLoss(model, x, tiny).loss.dataSync()[0]!;
    const wanted = (loss + 0.5 * Math.log(2 * Math.PI) + Math.log(128)) / Math.LN2;
    expect(Math.abs(tf.mean(bitsPerDimension(model, x, tiny).bits).dataSync()[0]! - wanted)).toBeLessThan(1e-5);
  });
});

describe('memory', () => {
  it('sampling, denoising and likelihood leave nothing behind', () => {
    const model: TarFlow = randomModel('leaks', tiny);
    const sampler = sequentialSampler(tiny);
    const z = noiseOf(new Rng('leaks'), tiny);
    const round = (): void => {
      const { images } = sampler(model, z);
      const clean = denoise(model, images, tiny, { sigma: 0.1 });
      tf.tidy(() => void bitsPerDimension(model, clean, tiny));
      tf.dispose([images, clean]);
    };
    round();
    const before = tf.memory().numTensors;
    round();
    expect(tf.memory().numTensors).toBe(before);
    sampler.dispose();
  });
});
