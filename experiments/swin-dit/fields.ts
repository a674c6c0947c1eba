import { gaussianField, type GaussianField } from '@atelier/datasets';
import { seamRatio, type SwinDiTParams } from '@atelier/swin-dit';
import { disposeTree, tf, type Tree } from '@atelier/tensor';
import type { RunContext } from '../src/runner/experiment.ts';
import { SEAM_TIME, type Config, type Fields } from './config.ts';
import type { Bound, FieldFindings, FieldScores } from './field-findings.ts';
import { fieldPictures } from './field-pictures.ts';
import { EVALUATION_TIMES, leastError, linearDenoiser, type LinearDenoiser } from './linear-denoiser.ts';
import { fieldModels, type Model } from './models.ts';
import { denoised, noiseError, noisy, predictNoise, type NoisyFields } from './prediction.ts';
import { tables, trainDenoiser } from './training.ts';

/** Trains all models on Gaussian random fields, holds them against the best that is possible, and draws the first repetition. */
export async function runFields(context: RunContext<Config>): Promise<FieldFindings> {
  const { fields: config } = context.config;
  const { grid, patchSize, window } = config;
  const side = grid * patchSize;
  const rng = context.rng.child('fields');
  const field = gaussianField(side);
  const models = fieldModels(config);
  context.note(`Gaussian random fields of ${side} x ${side} pixels, ${grid} x ${grid} tokens, windows of ${window} x ${window}`);

  const x0 = field.sample(rng.child('evaluation fields'), config.images);
  const noise = rng.child('evaluation noise').normals(x0.length);
  const at = (time: (i: number) => number): NoisyFields =>
    noisy(
      x0,
      noise,
      Int32Array.from({ length: config.images }, (_, i) => time(i)),
    );
  const fixed = at((i) => EVALUATION_TIMES[i % EVALUATION_TIMES.length]!);
  const atTime = new Map(config.seamTimes.map((t) => [t, at(() => t)]));
  const seamOf = (images: Float32Array): number =>
    tf.tidy(() => {
      const ratio = seamRatio(tf.tensor(images, [config.images, side, side, 1]), { window: window * patchSize, patch: patchSize });
      return ratio.dataSync()[0]!;
    });

  const whole = linearDenoiser(field, side);
  const windows = linearDenoiser(field, Math.min(window, grid) * patchSize);
  const exact = await context.stage('exact', () => {
    const seams: Record<string, number> = {};
    for (const [t, images] of atTime) seams[t] = seamOf(denoised(predictExactly(whole, images), images));
    return {
      whole: { expected: leastError(whole, tables), here: noiseError(predictExactly(whole, fixed), fixed) },
      windows: { expected: leastError(windows, tables), here: noiseError(predictExactly(windows, fixed), fixed) },
      seams,
    };
  });
  const bound = ({ here, expected }: Bound): string => `${here.toFixed(4)} (expected ${expected.toFixed(4)})`;
  context.note(`smallest possible error of the noise on these images: ${bound(exact.whole)}, with only windows ${bound(exact.windows)}`);

  const repeats: Record<string, FieldScores>[] = [];
  const trained: { model: Model; params: SwinDiTParams }[] = [];
  for (let repeat = 0; repeat < config.repeats; repeat++) {
    const ending = config.repeats > 1 ? `-${repeat + 1}` : '';
    const scores: Record<string, FieldScores> = {};
    for (const one of models) {
      const params = await train(context, field, one, repeat, `field-${one.name}${ending}`, config);
      scores[one.name] = await context.stage(`evaluate-field-${one.name}${ending}`, async () => {
        const seams: Record<string, number> = {};
        for (const [t, images] of atTime) seams[t] = seamOf(denoised(await predictNoise(one, params, images, side), images));
        return { mse: noiseError(await predictNoise(one, params, fixed, side), fixed), seams };
      });
      const { mse, seams } = scores[one.name]!;
      const excess = (mse - exact.whole.here).toFixed(4);
      context.note(
        `${one.label}${ending}: error ${mse.toFixed(4)}, excess ${excess}, seams ${seams[SEAM_TIME]!.toFixed(2)} at ${SEAM_TIME}`,
      );
      if (repeat === 0) trained.push({ model: one, params });
      else disposeTree(params as Tree);
    }
    repeats.push(scores);
  }
  const findings = { models, repeats, whole: exact.whole, windows: exact.windows, exactSeams: exact.seams };
  await fieldPictures(context, findings, {
    trained,
    field,
    noisy: atTime.get(SEAM_TIME)!,
    exact: (images) => denoised(predictExactly(whole, images), images),
  });
  disposeTree(trained.map(({ params }) => params) as Tree);
  return findings;
}

async function train(
  context: RunContext<Config>,
  field: GaussianField,
  one: Model,
  repeat: number,
  name: string,
  { training }: Fields,
): Promise<SwinDiTParams> {
  const shape = [training.batch, field.side, field.side, 1];
  const { params } = await trainDenoiser({
    context,
    model: one,
    name,
    settings: training,
    rng: context.rng.child('fields').child(repeat),
    data: (stream) => ({ x: tf.tensor(field.sample(stream, training.batch), shape), y: tf.zeros([training.batch], 'int32') }),
  });
  return params;
}

/** ε̂ of an exact denoiser for every image. */
function predictExactly(denoiser: LinearDenoiser, { xt, times }: NoisyFields): Float32Array {
  const size = xt.length / times.length;
  const out = new Float32Array(xt.length);
  times.forEach((t, i) => out.set(denoiser.predict(xt.subarray(i * size, (i + 1) * size), tables.alphaBar[t]!), i * size));
  return out;
}
