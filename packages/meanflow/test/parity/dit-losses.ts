import { valueAndGrad, tf, type Tensor } from '@atelier/tensor';
import type { DiTParams } from '@atelier/nn';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import {
  ditToFlax,
  dropClasses,
  guidedMeanFlowLoss,
  guidedVelocity,
  meanFlowDiT,
  meanFlowLoss,
  movingRows,
  timesFromDraws,
  type GuidanceOptions,
  type MeanFlowLoss,
} from '../../src/index.ts';
import { casesWith, number, type Settings } from './cases.ts';
import { labelsOf, loadDiT } from './dit.ts';
import { checkParts } from './losses.ts';
import { checkTimes, samplerOfJax } from './time-samplers.ts';

/** Guidance of a case. A `guidance_eq` other than cfg means no guidance. Settings that the case leaves out get the official defaults. */
function guidanceOf(settings: Settings): GuidanceOptions {
  if (settings['guidance_eq'] !== 'cfg') return { omega: 1, kappa: 0 };
  return {
    omega: number(settings, 'omega', 1),
    kappa: number(settings, 'kappa', 0.5),
    interval: [number(settings, 't_start', 0), number(settings, 't_end', 1)],
  };
}

/** The guided velocity ṽ for every setting, and the predictions that it is computed from. */
export function cfgTarget(file: GoldenFile, all: Golden): number {
  const { network, config } = loadDiT(file, all);
  const cases = casesWith(file, 'v_g');
  const z = file.tensor('z_t');
  const y = labelsOf(file, 'labels', z.shape[0]!, config);
  if (y === undefined) throw new Error(`${file.name}: wanted a network with classes`);
  const at = { z, t: file.tensor('t'), y, velocity: file.tensor('v_t') };
  for (const name of cases) {
    const { velocity, unconditional, conditional } = guidedVelocity(network, at, {
      ...guidanceOf(file.settings(name)),
      nullLabel: config.numClasses,
    });
    const close = { rel: 2e-5, max: 2e-6 };
    expectClose(velocity, file.host(`${name}.v_g`), close, `${name}.v_g`);
    if (unconditional) expectClose(unconditional, file.host('v_uncond'), close, 'v_uncond');
    if (conditional) expectClose(conditional, file.host('v_cond'), close, 'v_cond');
  }
  return cases.length;
}

/** Class dropout by the prefix rule; the results must be equal to the last bit. */
export function condDrop(file: GoldenFile): number {
  const cases = casesWith(file, 'labels_out');
  const batch = { y: file.tensor('labels'), guided: file.tensor('v_g'), conditionalVelocity: file.tensor('v_t') };
  for (const name of cases) {
    const { y, velocity, dropped } = dropClasses(
      { ...batch, uniform: file.tensor(`${name}.uniform`) },
      { probability: number(file.settings(name), 'class_dropout_prob'), rule: 'prefix', nullLabel: Number(file.setting('null_label')) },
    );
    expectClose(y, file.host(`${name}.labels_out`), {}, `${name}.labels_out`);
    expectClose(velocity, file.host(`${name}.v_g_out`), {}, `${name}.v_g_out`);
    const count = tf.reshape(tf.sum(tf.cast(dropped, 'int32')), [1]);
    if (file.has(`${name}.num_drop`)) expectClose(count, file.host(`${name}.num_drop`), {}, `${name}.num_drop`);
  }
  return cases.length;
}

type Parts = MeanFlowLoss & { y?: Tensor };

/** Loss of one case from the file's draws, and its gradients. */
function lossOf(file: GoldenFile, all: Golden, name: string, useMovingRows: boolean): { parts: Parts; grads: DiTParams; file: GoldenFile } {
  const { params, config } = loadDiT(file, all);
  const settings = file.settings(name);
  const sampler = samplerOfJax(settings);
  const times = timesFromDraws({ t: file.tensor('normal_t'), r: file.tensor('normal_r') }, sampler);
  checkTimes(file, name, times);
  const moving = useMovingRows ? movingRows(sampler, times.t.shape[0]!) : undefined;
  const options = { p: number(settings, 'norm_p'), c: number(settings, 'norm_eps'), ...(moving && { movingRows: moving }) };
  const batch = { x: file.tensor('images'), e: file.tensor('e'), ...times };
  const y = labelsOf(file, 'labels', times.t.shape[0]!, config);
  const objective = (p: DiTParams): Parts => {
    if (!file.has('uniform_drop') || y === undefined) return meanFlowLoss(meanFlowDiT(p, config), { ...batch, ...(y && { y }) }, options);
    return guidedMeanFlowLoss(
      meanFlowDiT(p, config),
      { ...batch, y, dropUniform: file.tensor('uniform_drop') },
      {
        ...options,
        guidance: guidanceOf(settings),
        classDrop: { probability: number(settings, 'class_dropout_prob'), rule: 'prefix' },
        nullLabel: config.numClasses,
      },
    );
  };
  const { aux, grads } = tf.tidy(() =>
    valueAndGrad((p: DiTParams) => {
      const parts = objective(p);
      return { loss: parts.loss, aux: parts };
    }, params),
  );
  return { parts: aux, grads, file };
}

/** Every stage of the class-conditional loss: with D for all rows, as in the official code, and again with D only for the moving rows. */
export function ditLoss(file: GoldenFile, all: Golden): number {
  const cases = casesWith(file, 'u_tgt');
  const close = { rel: 5e-5, max: 5e-6 };
  for (const name of cases) {
    const { parts } = lossOf(file, all, name, false);
    checkParts(file, name, parts, close);
    if (parts.y && file.has(`${name}.labels_in`)) expectClose(parts.y, file.host(`${name}.labels_in`), {}, `${name}.labels_in`);
    const cut = lossOf(file, all, name, true).parts;
    for (const [key, value] of [
      ['u', cut.u],
      ['u_tgt', cut.target],
      ['sqerr', cut.squaredError],
    ] as const)
      expectClose(value, file.host(`${name}.${key}`), close, `${name}.${key}, moving rows`);
  }
  return cases.length;
}

/** Gradients of all parameters, under their official names and in the official layout. The draws are those of the file without `-grads`. */
export function ditLossGradients(file: GoldenFile, all: Golden): number {
  const losses = all.load(file.name.replace(/-grads/, ''));
  const cases = [...new Set(file.keys().map((key) => key.slice(0, key.indexOf('.grad.'))))];
  for (const name of cases) {
    for (const useMovingRows of [false, true]) {
      const { grads } = lossOf(losses, all, name, useMovingRows);
      const ours = ditToFlax(grads, loadDiT(losses, all).config);
      for (const key of file.keys(`${name}.grad.`)) {
        const value = ours[key.slice(`${name}.grad.`.length)];
        if (value === undefined) throw new Error(`${file.name}: wanted a gradient of ours for '${key}', got none`);
        expectClose(value, file.host(key), { max: 1e-4 }, key);
      }
    }
  }
  return cases.length;
}
