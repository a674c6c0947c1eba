import { compile, flattenTree, tf, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose, officialDiT, type Golden, type GoldenFile } from '@atelier/testkit';
import { expect } from 'vitest';
import { adamW, applyDiT, emaUpdate, type DiTParams } from '@atelier/nn';
import {
  cosineBetas,
  ddimSampler,
  ddpmSampler,
  diffusionLoss,
  diffusionTables,
  guide,
  guidedNetwork,
  linearBetas,
  respace,
  type DiffusionTables,
  type LabelledPredictor,
} from '../../src/index.ts';

// Values of the official diffusion of facebookresearch/DiT. Bounds are relative to a tensor's largest value unless they say otherwise.
const { named, nchwToNhwc, nhwcToNchw, settingsOf, weightsOf } = officialDiT;

const full = diffusionTables(linearBetas());
const relative = { max: 1e-4 };

/** All tables and the time map; betas of the cosine schedule. */
export function tablesOfDiffusion(file: GoldenFile): number {
  const official = {
    betas: 'betas',
    alphas_cumprod: 'alphaBar',
    alphas_cumprod_prev: 'alphaBarPrevious',
    posterior_log_variance_clipped: 'posteriorLogVariance',
    posterior_mean_coef1: 'posteriorMeanX0',
    posterior_mean_coef2: 'posteriorMeanXk',
    posterior_variance: 'posteriorVariance',
    sqrt_recip_alphas_cumprod: 'sqrtRecipAlphaBar',
    sqrt_recipm1_alphas_cumprod: 'sqrtRecipAlphaBarMinusOne',
    timestep_map: 'timesteps',
  } as const satisfies Record<string, keyof DiffusionTables>;

  let compared = 0;
  for (const respacing of file.metadata['respacings']!.split(';')) {
    const tables = respace(full, respacing);
    const prefix = respacing === '' ? 'full.' : `s${respacing}.`;
    for (const key of file.keys(prefix)) {
      const column = official[key.slice(prefix.length) as keyof typeof official];
      if (column === undefined) throw new Error(`parity: wanted a table of ours for '${key}', got none`);
      expectClose(tables[column], file.host(key).data, key.endsWith('timestep_map') ? {} : { rel: 1e-6 }, key);
      compared++;
    }
  }
  expectClose(cosineBetas(Number(file.setting('cosine_steps'))), file.host('cosine.betas').data, { rel: 1e-6 });
  return compared;
}

/** Guidance on three channels and on all; both halves. */
export function guidance(file: GoldenFile, all: Golden): number {
  const [settings, scale] = [settingsOf(file), Number(file.setting('cfg_scale'))];
  const { params } = weightsOf<DiTParams>(all.load(named(file, 'weights')));
  const network: LabelledPredictor = (x, t, y) => applyDiT(params, x, { t, y }, settings);
  // The official function takes a doubled batch (first half with labels, second half without) and uses the images of the first half only.
  const half = (x: Tensor): Tensor => tf.split(x, 2, 0)[0]!;
  const doubled = nchwToNhwc(file.tensor('in.x'));
  const [x, t, y] = [half(doubled), tf.cast(half(file.tensor('in.t')), 'float32'), half(file.tensor('in.y'))];
  const raw = network(tf.concat([x, x], 0), tf.concat([t, t], 0), file.tensor('in.y'));
  expectClose(nhwcToNchw(raw), file.host('out_raw'), relative, 'raw');
  const [conditional, unconditional] = tf.split(raw, 2, 0) as [Tensor, Tensor];
  const kinds = [
    ['out_official_3ch', 3],
    ['out_all_channels', 'all'],
  ] as const;
  for (const [key, channels] of kinds) {
    const count = channels === 'all' ? settings.inChannels : channels;
    // u + w(c - u) = c + (1 - w)(u - c): the same formula with the halves exchanged. The other channels are then those of the unconditional half.
    const halves = [
      guide(conditional, unconditional, { scale, channels: count }),
      guide(unconditional, conditional, { scale: 1 - scale, channels: count }),
    ];
    expectClose(nhwcToNchw(tf.concat(halves, 0)), file.host(key), relative, key);
    const guided = guidedNetwork(network, { scale, channels, nullLabel: settings.numClasses! })(x, t, y);
    expectClose(guided, halves[0]!, { max: 1e-5 }, `${key}, as a network`);
  }
  return kinds.length;
}

/** Loss, its parts and all gradients. */
export function trainingLoss(file: GoldenFile): number {
  const [settings, y] = [settingsOf(file), file.tensor('in.y')];
  const batch = { x0: nchwToNhwc(file.tensor('in.x0')), noise: nchwToNhwc(file.tensor('in.noise')), k: file.tensor('in.t') };
  const { grads, aux } = valueAndGrad((params: DiTParams) => {
    const { loss, lossPerSample, mse, vb, xk } = diffusionLoss((x, t) => applyDiT(params, x, { t, y }, settings), batch, full, {
      variance: 'learned',
    });
    return { loss, aux: { lossPerSample, mse, vb: vb!, xk } };
  }, weightsOf<DiTParams>(file).params);
  expectClose(nhwcToNchw(aux.xk), file.host('x_t'), relative, 'x_t');
  expectClose(aux.mse, file.host('mse'), relative, 'mse');
  expectClose(aux.vb, file.host('vb'), { max: 1e-3 }, 'vb');
  expectClose(aux.lossPerSample, file.host('loss'), relative, 'loss');
  const [got, wanted] = [flattenTree(grads), file.tensors('g.')];
  expect(Object.keys(got).sort()).toEqual(Object.keys(wanted).sort());
  for (const [key, gradient] of Object.entries(wanted)) expectClose(got[key]!, gradient, { max: 1e-3 }, key);
  return Object.keys(wanted).length;
}

type Context = { params: DiTParams; y: Tensor };

/** The network, the times and the weights that the samples in a file were made with. */
const samplingOf = (file: GoldenFile, all: Golden) => ({
  settings: settingsOf(file),
  tables: respace(full, file.metadata['steps']!),
  params: weightsOf<DiTParams>(all.load(named(file, 'weights'))).params,
});

/** Every step of guided ancestral sampling. */
export function ancestralSampling(file: GoldenFile, all: Golden): number {
  const { settings, tables, params: trained } = samplingOf(file, all);
  const scale = Number(file.setting('cfg_scale'));
  const y = file.tensor('in.y');
  // The official loop keeps both halves of the doubled batch, each with its own noise, and gives the network the first half twice.
  const network = (x: Tensor, t: Tensor, { params, y }: Context): Tensor => {
    const first = tf.split(x, 2, 0)[0]!;
    const [labelled, plain] = tf.split(applyDiT(params, tf.concat([first, first], 0), { t, y }, settings), 2, 0) as [Tensor, Tensor];
    return tf.concat([guide(labelled, plain, { scale, channels: 3 }), guide(plain, labelled, { scale: 1 - scale, channels: 3 })], 0);
  };
  const noises = tf.unstack(file.tensor('in.noises')).map(nchwToNhwc);
  const sampler = ddpmSampler(network, { variance: 'learned' });
  const [samples, predictions] = [tf.unstack(file.tensor('ddpm.samples')), tf.unstack(file.tensor('ddpm.pred_x0'))];
  const start = nchwToNhwc(file.tensor('in.z'));
  const trail = [...sampler.steps(tables, start, { context: { params: trained, y }, noise: (i) => noises[i]!.clone() })];
  expect(trail.length).toBe(samples.length);
  trail.forEach(({ sample, x0 }, i) => {
    expectClose(nhwcToNchw(sample), samples[i]!, relative, `samples of step ${i}`);
    expectClose(nhwcToNchw(x0), predictions[i]!, relative, `x0 of step ${i}`);
  });

  // The first half in the file holds the samples that the guidance of this package must give.
  const half = (x: Tensor): Tensor => tf.split(x, 2, 0)[0]!;
  const own = ddpmSampler(
    (x, t, { params, y }: Context) =>
      guidedNetwork((image, time, label) => applyDiT(params, image, { t: time, y: label }, settings), {
        scale,
        channels: 3,
        nullLabel: settings.numClasses!,
      })(x, t, y),
    { variance: 'learned' },
  );
  const sample = own.sample(tables, half(start), { context: { params: trained, y: half(y) }, noise: (i) => half(noises[i]!) });
  expectClose(nhwcToNchw(sample), half(samples.at(-1)!), relative, 'own guidance');
  for (const each of [sampler, own]) each.dispose();
  return trail.length;
}

/** Every step of DDIM. */
export function ddimSampling(file: GoldenFile, all: Golden): number {
  const { settings, tables, params: trained } = samplingOf(file, all);
  const samples = tf.unstack(file.tensor('ddim.samples'));
  const rows = samples[0]!.shape[0]!;
  const first = (x: Tensor): Tensor => tf.slice(x, 0, rows);
  const sampler = ddimSampler((x, t, { params, y }: Context) => applyDiT(params, x, { t, y }, settings), { variance: 'learned' });
  const context = { params: trained, y: first(file.tensor('in.y')) };
  const trail = [...sampler.steps(tables, nchwToNhwc(first(file.tensor('in.z'))), { context })];
  expect(trail.length).toBe(samples.length);
  trail.forEach(({ sample }, i) => expectClose(nhwcToNchw(sample), samples[i]!, relative, `step ${i}`));
  sampler.dispose();
  return trail.length;
}

/** Losses, weights and average after the steps of the official loop, compiled. */
export function trainingSteps(file: GoldenFile): number {
  const [settings, learningRate] = [settingsOf(file), Number(file.setting('lr'))];
  const [b1, b2] = file.metadata['betas']!.split(',').map(Number) as [number, number];
  const optimizer = adamW({ b1, b2, eps: Number(file.setting('eps')) });
  type State = { params: DiTParams; average: DiTParams; adam: ReturnType<typeof optimizer.init> };
  type Batch = { x0: Tensor; noise: Tensor; k: Tensor; y: Tensor };
  const step = compile(({ params, average, adam }: State, { y, ...batch }: Batch, rate: Tensor, decay: Tensor) => {
    const { loss, grads } = valueAndGrad((at: DiTParams) => {
      const network = (x: Tensor, t: Tensor): Tensor => applyDiT(at, x, { t, y }, settings);
      return { loss: diffusionLoss(network, batch, full, { variance: 'learned' }).loss, aux: {} };
    }, params);
    const next = optimizer.update(grads, adam, params, rate);
    return { state: { params: next.params, average: emaUpdate(average, next.params, decay), adam: next.state }, loss };
  });
  const start = weightsOf<DiTParams>(file, 'w0.').params;
  let state: State = { params: start, average: start, adam: optimizer.init(start) };
  const parts = (key: string): Tensor[] => tf.unstack(file.tensor(key));
  const [x0, noise, k, y] = ['in.x0', 'in.noise', 'in.t', 'in.y'].map(parts) as [Tensor[], Tensor[], Tensor[], Tensor[]];
  const losses = x0.map((data, i) => {
    const batch = { x0: nchwToNhwc(data), noise: nchwToNhwc(noise[i]!), k: k[i]!, y: y[i]! };
    const out = step(state, batch, tf.scalar(learningRate), tf.scalar(Number(file.setting('ema_decay'))));
    state = out.state;
    return out.loss;
  });
  expect(step.graphs).toBeLessThanOrEqual(1);
  expectClose(tf.stack(losses), file.host('losses'), relative, 'losses');

  const count = losses.length;
  const [weights, averages] = [flattenTree(state.params), flattenTree(state.average)];
  const wanted = flattenTree(weightsOf<DiTParams>(file, `w${count}.`).params);
  expect(Object.keys(weights).sort()).toEqual(Object.keys(wanted).sort());
  for (const [key, leaf] of Object.entries(wanted)) expectClose(weights[key]!, leaf, { abs: 0.1 * learningRate }, key);
  for (const [key, leaf] of Object.entries(flattenTree(weightsOf<DiTParams>(file, `ema${count}.`).params)))
    expectClose(averages[key]!, leaf, { abs: 0.1 * learningRate }, `average of ${key}`);
  step.dispose();
  return count;
}
