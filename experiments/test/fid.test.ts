import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeStatistics, frechetDistanceOfGaussians, gaussianMoments, parseStatistics } from '@atelier/metrics';
import { compile, Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { beforeAll, describe, expect, it } from 'vitest';
import { makeProgress } from '../src/runner/progress.ts';
import { drawInputs, type OpenedRun } from '../src/runner/draw.ts';
import { numberText } from '../src/runner/number-text.ts';
import { fidRun } from '../src/runner/fid-run.ts';
import { temporaryFolder } from './child.ts';

const [SIDE, N] = [4, 50];
const silent = makeProgress({ write: () => undefined });

/** A network whose samples are its noise, in [-2, 2] for black and white. */
const opened = {
  name: 'noise',
  drawer: {
    method: 'none',
    data: 'none',
    shape: [SIDE, SIDE, 1],
    range: [-2, 2],
    classNames: [],
    steps: 1,
    noise: (n: number) => ({ z: { shape: [n, SIDE, SIDE, 1], law: 'normal' as const } }),
    draw: ({ z }: { readonly [name: string]: Tensor }) => tf.mul(z!, 1),
    weights: [],
  },
} as unknown as OpenedRun;
const request = { n: N, seed: 7 };

/** Features of an image x [3, 4, 4] in [0, 1]: the mean of each half of the rows, and the mean of the squares. */
const featuresOf = (x: Tensor): Tensor =>
  tf.tidy(() => {
    const halves = tf.mean(tf.reshape(x, [N, 3, 2, (SIDE * SIDE) / 2]), [1, 3]);
    return tf.concat([halves, tf.reshape(tf.mean(tf.square(x), [1, 2, 3]), [N, 1])], 1);
  });

describe('the Fréchet distance in the features of an ONNX file', () => {
  const folder = temporaryFolder();
  const [features, reference] = [join(folder, 'features.onnx'), join(folder, 'reference.npz')];
  const wanted = gaussianMoments(new Rng('reference').normals(3 * 100), 3);
  beforeAll(async () => {
    await useEngine();
    const run = compile((x: Tensor) => featuresOf(x), { argumentNames: ['images'] });
    const x = tf.zeros([N, 3, SIDE, SIDE]);
    writeFileSync(features, run.onnx(x));
    x.dispose();
    run.dispose();
    writeFileSync(reference, encodeStatistics(wanted));
  });

  it('is that of the definition, and the statistics of the samples are kept', async () => {
    const save = join(folder, 'samples.npz');
    const lines = await fidRun(opened, { ...request, features, reference, save }, silent);
    const { inputs } = await drawInputs(opened, { n: N, seed: 7 });
    // Values in [-2, 2] become [0, 1]; values beyond are clipped; grey is repeated in three channels.
    const grey = Array.from(inputs['z']!.data as Float32Array, (value) => Math.min(1, Math.max(0, value / 4 + 0.5)));
    const own = new Float32Array(3 * N);
    const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
    for (let i = 0; i < N; i++) {
      const image = grey.slice(i * 16, (i + 1) * 16);
      own.set([mean(image.slice(0, 8)), mean(image.slice(8)), mean(image.map((value) => value ** 2))], 3 * i);
    }
    const moments = gaussianMoments(own, 3);
    const distance = frechetDistanceOfGaussians(moments, wanted);
    expect(lines).toEqual([
      `statistics of 50 samples in 3 features: ${save}`,
      `Fréchet distance of 50 samples of 'noise' in 3 features: ${numberText(distance)}`,
    ]);
    const kept = parseStatistics(new Uint8Array(readFileSync(save)), save);
    kept.mean.forEach((value, k) => expect(value).toBeCloseTo(moments.mean[k]!, 6));
  });

  it('draws batches that no other seed repeats', async () => {
    const drawn = async (seed: number, part: number) =>
      Array.from((await drawInputs(opened, { n: N, seed, part })).inputs['z']!.data as Float32Array);
    const batches = [await drawn(0, 0), await drawn(0, 1), await drawn(0, 2), await drawn(N, 0), await drawn(1, 0)];
    expect(new Set(batches.map(String)).size).toBe(batches.length);
    const save = join(folder, 'two.npz');
    expect(await fidRun(opened, { ...request, n: N + 20, features, save }, silent)).toEqual([
      `statistics of 70 samples in 3 features: ${save}`,
    ]);
    const once = parseStatistics(new Uint8Array(readFileSync(join(folder, 'samples.npz'))), 'samples.npz');
    const { mean } = parseStatistics(new Uint8Array(readFileSync(save)), save);
    expect(mean[0]).not.toBe(once.mean[0]);
  });

  it('is refused with what is wrong', async () => {
    const asked = (more: object) => fidRun(opened, { ...request, features, reference, ...more }, silent);
    await expect(asked({ reference: undefined })).rejects.toThrow(
      'fid: wanted --reference <stats.npz>, or --save <stats.npz>, got neither',
    );
    await expect(asked({ range: '0..2' })).rejects.toThrow("unknown range '0..2'");
    await expect(asked({ features: reference })).rejects.toThrow(`${reference}: wanted an ONNX file, got:`);
    await expect(asked({ reference: join(folder, 'none.npz') })).rejects.toThrow('no such file');
    const other = join(folder, 'other.npz');
    writeFileSync(other, encodeStatistics(gaussianMoments(new Rng(1).normals(20), 2)));
    await expect(asked({ reference: other })).rejects.toThrow(`${other}: wanted statistics of the 3 features of ${features}, got 2`);
  });
});
