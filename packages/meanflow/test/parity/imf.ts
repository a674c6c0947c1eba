import { parseConfig, tf, type Tree, valueAndGrad } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import {
  guidanceInterval,
  guidanceScale,
  imfConfig,
  imfFromFlax,
  imfLoss,
  imfNetwork,
  imfToFlax,
  movingRows,
  timesFromDraws,
  type ImfConfig,
  type ImfLoss,
  type ImfParams,
} from '../../src/index.ts';
import { casesWith, number, tensorsOf } from './cases.ts';
import { samplerOfJax } from './time-samplers.ts';

/** Settings of the network that the weights in a file belong to. */
function configOf(weights: GoldenFile): ImfConfig {
  const settings = weights.settings('config');
  return parseConfig(
    imfConfig,
    {
      inChannels: number(settings, 'in_channels'),
      patchSize: number(settings, 'patch_size'),
      width: number(settings, 'hidden_size'),
      depth: number(settings, 'depth'),
      heads: number(settings, 'num_heads'),
      headDepth: number(settings, 'aux_head_depth'),
      numClasses: number(settings, 'num_classes'),
      mlpRatio: number(settings, 'mlp_ratio', 8 / 3),
      classTokens: number(settings, 'num_class_tokens'),
      guidanceTokens: number(settings, 'num_cfg_tokens'),
      intervalTokens: number(settings, 'num_interval_tokens'),
      timeTokens: number(settings, 'num_time_tokens'),
    },
    weights.name,
  );
}

export function imfScales(file: GoldenFile): number {
  const cases = casesWith(file, 'omega');
  for (const name of cases) {
    const beta = number(file.settings(name), 'cfg_beta');
    const omega = guidanceScale(file.tensor('uniform'), { beta, max: 1 + Number(file.setting('s_max')) });
    expectClose(omega, file.host(`${name}.omega`), { rel: 1e-4 }, `${name}.omega`);
  }
  return cases.length;
}

/** Every parameter has a known name and shape, and converting back to Flax gives the same file again. */
export function imfWeights(file: GoldenFile): number {
  const config = configOf(file);
  const back = imfToFlax(imfFromFlax(tensorsOf(file), config), config);
  for (const key of file.keys()) expectClose(back[key]!, file.host(key), {}, key);
  return file.keys().length;
}

/** Every stage of the two-headed loss, and its gradients by official name. */
function lossOf(
  file: GoldenFile,
  all: Golden,
  useMovingRows: boolean,
): { parts: ImfLoss; grads: Record<string, ReturnType<typeof tf.scalar>> } {
  const weights = all.load(file.metadata['weights']!);
  const config = configOf(weights);
  const params = imfFromFlax(tensorsOf(weights), config);
  const settings = file.settings('config');
  const sampler = samplerOfJax(settings);
  const times = timesFromDraws({ t: file.tensor('normal_t'), r: file.tensor('normal_r') }, sampler);
  // The draws of the file replace the official uniforms on their ranges, so they are the interval ends themselves (some have t_min > t_max).
  const interval = guidanceInterval({ tMin: file.tensor('uniform_tmin'), tMax: file.tensor('uniform_tmax') }, times);
  const omega = guidanceScale(file.tensor('uniform_omega'), { beta: number(settings, 'cfg_beta') });
  const moving = useMovingRows ? movingRows(sampler, times.t.shape[0]!) : undefined;
  const batch = {
    x: file.tensor('images'),
    e: file.tensor('e'),
    ...times,
    condition: { omega, ...interval, y: file.tensor('labels') },
    dropUniform: file.tensor('uniform_drop'),
  };
  const { aux, grads } = valueAndGrad(
    (p: Tree) => {
      const parts = imfLoss(imfNetwork(p as never as ImfParams, config), batch, {
        p: number(settings, 'norm_p'),
        c: number(settings, 'norm_eps'),
        classDrop: { probability: number(settings, 'class_dropout_prob'), rule: 'prefix' },
        nullLabel: config.numClasses,
        ...(moving && { movingRows: moving }),
      });
      return { loss: parts.loss, aux: parts };
    },
    params as never as Tree,
  );
  expectClose(times.t, file.host('t'), { abs: 1e-6 }, 't');
  expectClose(times.r, file.host('r'), { abs: 1e-6 }, 'r');
  return { parts: aux, grads: imfToFlax(grads as never, config) as never };
}

export function imfLosses(file: GoldenFile, all: Golden): number {
  const { parts } = lossOf(file, all, false);
  const mse = (squaredErrors: ImfLoss['squaredError']) => tf.reshape(tf.div(tf.sum(squaredErrors), parts.z.size), [1]);
  const stages = {
    z_t: parts.z,
    v_tangent: parts.tangent,
    u: parts.u,
    dudt: parts.dudt,
    V: parts.compound,
    v_head: parts.head,
    mse_u: mse(parts.squaredError),
    mse_v: mse(parts.headSquaredError),
    loss: tf.reshape(parts.loss, [1]),
  };
  for (const [key, value] of Object.entries(stages)) expectClose(value, file.host(key), { rel: 1e-4, max: 1e-5 }, key);
  return 1;
}

export function imfLossGradients(file: GoldenFile, all: Golden): number {
  const losses = all.load(file.name.replace(/-grads/, ''));
  const keys = file.keys('grad.');
  for (const useMovingRows of [false, true]) {
    const { grads } = lossOf(losses, all, useMovingRows);
    for (const key of keys) {
      const value = grads[key.slice('grad.'.length)];
      if (value === undefined) throw new Error(`${file.name}: wanted a gradient of ours for '${key}', got none`);
      expectClose(value, file.host(key), { max: 5e-4 }, key);
    }
  }
  return keys.length;
}
