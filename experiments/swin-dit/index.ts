import { defineExperiment, type RunContext } from '../src/runner/experiment.ts';
import { NEAR } from './attention.ts';
import { claims } from './claims.ts';
import { configSchema, SEAM_TIME, type Config, type ModelName } from './config.ts';
import { drawers } from './drawers.ts';
import { excess, meanOver, type FieldFindings } from './field-findings.ts';
import { runFields } from './fields.ts';
import { runImages, type ImageFindings } from './images.ts';
import { curve } from './methods.ts';
import { presets } from './presets.ts';

/** Compares PSWA with DiT, with only windows, Swin's shifted windows and only bridges, on fields whose best denoiser is known, letters, digits and photographs. */
export const swinDit = defineExperiment<Config>({
  name: 'swin-dit',
  paper: { slug: 'swin-dit', title: 'Swin DiT: Diffusion Transformer using Pseudo Shifted Windows', arxiv: '2505.13219' },
  title: 'Windows with bridges beside global attention',
  schema: configSchema,
  presets,
  claims,
  curve,
  drawers,
  tour: { preset: 'smoke', shows: 'windows with a bridge between them in the place of global attention', figure: 'field-samples' },
  async run(context) {
    const { parts } = context.config;
    if (parts.includes('fields')) await claimFields(context, await runFields(context));
    if (parts.includes('images')) await claimImages(context, await runImages(context));
  },
});

async function claimFields(context: RunContext<Config>, found: FieldFindings): Promise<void> {
  const { models, repeats, whole, windows } = found;
  const trained = (...names: ModelName[]): boolean => names.every((name) => models.some((one) => one.name === name));
  const errors = (name: ModelName): string => repeats.map((scores) => scores[name]!.mse.toFixed(4)).join(', ');
  const ratio = async (id: string, a: ModelName, b: ModelName, also: ModelName[] = []): Promise<void> => {
    if (!trained(a, b, ...also)) return;
    const listed = [a, b, ...also].map((name) => `${name} ${errors(name)}`).join('; ');
    await context.claim(id, excess(found, a) / excess(found, b), `errors: ${listed}; least possible ${whole.here.toFixed(4)}`);
  };
  await ratio('pswa-dit-smoke', 'pswa', 'dit');
  await ratio('pswa-window-smoke', 'pswa', 'window');
  await ratio('pswa-dit', 'pswa', 'dit');
  await ratio('pswa-swin', 'pswa', 'swin');
  await ratio('attention-needed', 'pswa', 'bridge');
  await ratio('pcca', 'pswa', 'uniform', trained('reversed') ? ['reversed'] : []);

  const macs = (name: ModelName): number => models.find((one) => one.name === name)!.blockMacs;
  const millions = (name: ModelName): string => `${(macs(name) / 1e6).toFixed(3)} M`;
  if (trained('pswa', 'dit')) await context.claim('macs', macs('pswa') / macs('dit'), `${millions('pswa')} against ${millions('dit')}`);
  if (trained('pswa', 'uniform'))
    await context.claim('pcca-cost', macs('pswa') / macs('uniform'), `${macs('pswa')} against ${macs('uniform')}`);

  const bound = `bound ${windows.here.toFixed(4)} on these fields, ${windows.expected.toFixed(4)} expected`;
  if (trained('window')) {
    const least = Math.min(...repeats.map((scores) => scores['window']!.mse));
    await context.claim('window-floor', least / windows.here, `errors: window ${errors('window')}; ${bound}`);
  }
  if (trained('pswa')) {
    const mse = meanOver(found, 'pswa', (scores) => scores.mse);
    await context.claim('pswa-floor', mse / windows.here, `errors: pswa ${errors('pswa')}; ${bound}`);
  }
  if (trained('pswa', 'window')) {
    const seam = (name: ModelName): number => meanOver(found, name, ({ seams }) => seams[SEAM_TIME]!);
    const [pswa, window, exact] = [seam('pswa'), seam('window'), found.exactSeams[SEAM_TIME]!];
    const detail = `PSWA ${pswa.toFixed(2)}, only windows ${window.toFixed(2)}, exact denoiser ${exact.toFixed(2)}`;
    await context.claim('seams', pswa / window, detail);
  }
}

async function claimImages(context: RunContext<Config>, { models, distances, floor, attention }: ImageFindings): Promise<void> {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  if (attention !== undefined) {
    const { within, uniformWithin } = attention;
    const detail = `within ${NEAR}: ${within.map(percent).join(', ')} by layer; ${percent(uniformWithin)} if all tokens were alike`;
    await context.claim('redundancy', Math.min(...within), detail);
  }
  const [dit, pswa] = [distances['dit'], distances['pswa']];
  if (dit === undefined || pswa === undefined) return;
  const macs = (name: ModelName): string => `${(models.find((one) => one.name === name)!.blockMacs / 1e6).toFixed(1)} M`;
  const detail = `PSWA ${pswa.toPrecision(3)} at ${macs('pswa')} multiply-accumulates, DiT ${dit.toPrecision(3)} at ${macs('dit')}; floor ${floor.toPrecision(2)}`;
  await context.claim('images-distance', pswa / dit, detail);
}
