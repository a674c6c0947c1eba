import { expectClose, type GoldenFile } from '@atelier/testkit';
import { timesFromDraws, type TimeSamplerConfig } from '../../src/index.ts';
import { type TimeDistribution } from '@atelier/diffusion';
import { casesWith, number, text, type Settings } from './cases.ts';

/** Sampler of the official PyTorch code from its settings; there `ratio` is the probability of r != t. */
export function samplerOfPyTorch(settings: Settings): TimeSamplerConfig {
  const law = (of: 't' | 'r'): TimeDistribution => ({
    kind: 'logit-normal',
    mean: number(settings, `P_mean_${of}`),
    std: number(settings, `P_std_${of}`),
  });
  const rule = ({ v0: 'bernoulli', v1: 'separate' } as const)[text(settings, 'tr_sampler') as 'v0' | 'v1'];
  if (rule === undefined) throw new Error(`wanted tr_sampler v0 or v1, got ${String(settings['tr_sampler'])}`);
  return { rule, t: law('t'), r: law('r'), movingShare: number(settings, 'ratio') };
}

/** Sampler of the official JAX code from its settings; there `data_proportion` is the share of rows with r = t. */
export function samplerOfJax(settings: Settings): TimeSamplerConfig {
  const uniform = settings['noise_dist'] === 'uniform';
  const law: TimeDistribution = uniform
    ? { kind: 'uniform' }
    : { kind: 'logit-normal', mean: number(settings, 'P_mean', -0.4), std: number(settings, 'P_std', 1) };
  return { rule: 'prefix', t: law, r: law, equalShare: number(settings, 'data_proportion') };
}

export function timeSamplersPyTorch(file: GoldenFile): number {
  const cases = casesWith(file, 'normal_t');
  for (const name of cases) {
    const config = samplerOfPyTorch(file.settings(name));
    const tensor = (key: string) => file.tensor(`${name}.${key}`);
    const times = timesFromDraws({ t: tensor('normal_t'), r: tensor('normal_r'), equal: tensor('uniform') }, config);
    checkTimes(file, name, times);
  }
  return cases.length;
}

export function timeSamplersJax(file: GoldenFile): number {
  const cases = casesWith(file, 'draw_t');
  for (const name of cases) {
    const tensor = (key: string) => file.tensor(`${name}.${key}`);
    checkTimes(file, name, timesFromDraws({ t: tensor('draw_t'), r: tensor('draw_r') }, samplerOfJax(file.settings(name))));
  }
  return cases.length;
}

/** t and r agree within 1e-6, and a row has r == t exactly if and only if the official row has. */
export function checkTimes(file: GoldenFile, name: string, times: ReturnType<typeof timesFromDraws>): void {
  expectClose(times.t, file.host(`${name}.t`), { abs: 1e-6 }, `${name}.t`);
  expectClose(times.r, file.host(`${name}.r`), { abs: 1e-6 }, `${name}.r`);
  const [t, r] = [file.host(`${name}.t`).data, file.host(`${name}.r`).data];
  const [ourT, ourR] = [times.t.dataSync(), times.r.dataSync()];
  const wanted = Array.from(t, (value, i) => value === r[i]);
  const got = Array.from(ourT, (value, i) => value === ourR[i]);
  wanted.forEach((equal, i) => {
    if (equal !== got[i]) throw new Error(`${name}: row ${i}: wanted r ${equal ? '==' : '!='} t, got t ${ourT[i]}, r ${ourR[i]}`);
  });
}
