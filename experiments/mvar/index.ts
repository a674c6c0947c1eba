import { attentionMacs, keptBytes } from '@atelier/mvar';
import { mean } from 'd3-array';
import { defineExperiment, type RunContext } from '../src/runner/experiment.ts';
import { claims } from './claims.ts';
import { publishedMacsError } from './costs.ts';
import { configSchema, type Config } from './config.ts';
import { drawers } from './drawers.ts';
import { runFigures, type FigureFindings } from './figures.ts';
import { runImages, type ImageFindings } from './images.ts';
import { curve } from './methods.ts';
import { presets } from './presets.ts';

/** MVAR beside VAR on the tokens of drawn figures, of digits and of photographs. */
export const mvar = defineExperiment<Config>({
  name: 'mvar',
  paper: { slug: 'mvar', title: 'MVAR: Visual Autoregressive Modeling with Scale and Spatial Markovian Conditioning', arxiv: '2505.12742' },
  title: 'Scale by scale without a cache: MVAR beside VAR',
  schema: configSchema,
  presets,
  claims,
  curve,
  drawers,
  tour: { preset: 'tour', shows: 'images drawn scale by scale, each from the scale before it alone', figure: 'samples' },
  async run(context) {
    const { parts } = context.config;
    if (parts.includes('figures')) await claimFigures(context, await runFigures(context));
    if (parts.includes('images')) await claimImages(context, await runImages(context));
  },
});

const listed = (values: readonly number[]): string => values.map((value) => value.toFixed(4)).join(', ');

async function claimFigures(context: RunContext<Config>, found: FigureFindings): Promise<void> {
  const { models, ce, samples, floor, mass, memory } = found;
  const { batch, windows } = context.config.figures;
  const of = (name: string) => models.find((one) => one.name === name);
  const [causal, markov] = [of('var'), of('concat') ?? of('mixed')];
  if (causal && markov) {
    const [a, b] = [attentionMacs(markov.config), attentionMacs(causal.config)];
    await context.claim('attention-macs', a / b, `${a} against ${b}`);
  }
  await context.claim('published-macs', publishedMacsError());
  if (memory) {
    const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
    await context.claim(
      'training-memory',
      memory.markov / memory.causal,
      `${mebibytes(memory.markov)} against ${mebibytes(memory.causal)}`,
    );
  }
  if (markov) {
    const kept = Math.max(...markov.config.ladder.map((_, l) => keptBytes(markov.config, l, batch, true)));
    await context.claim('cache', kept);
  }
  const [own, all, mixed] = [ce['var'], ce['concat'], ce['mixed']];
  if (own && all) {
    const detail = `MVAR ${listed(all)}; VAR ${listed(own)}`;
    await context.claim('quality', mean(all)! / mean(own)!, detail);
    await context.claim('quality-smoke', mean(all)! - mean(own)!, detail);
  }
  if (own && mixed) await context.claim('mixed-training', mean(mixed)! / mean(own)!, `8:1:1 ${listed(mixed)}; VAR ${listed(own)}`);
  await claimVariants(context, ce, windows);
  if (mass) {
    const side = context.config.figures.ladder.at(-1)!;
    const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
    const detail = `${percent(mass.near)} within 5 x 5 of ${side} x ${side}, ${percent(mass.own)} in the own scale`;
    await context.claim('attention-near', mass.near / (5 / side) ** 2, detail);
  }
  for (const [name, { distance, share }] of Object.entries(samples))
    context.note(
      `${of(name)!.label}: Fréchet distance of latents ${distance.toPrecision(3)} (other true images ${floor.toPrecision(2)}), ${(100 * share).toFixed(1)} % nearest to their class`,
    );
}

/** Other windows and histories. */
async function claimVariants(context: RunContext<Config>, ce: FigureFindings['ce'], windows: readonly number[]): Promise<void> {
  const sweep = ['concat', ...windows.map((side) => `window-${side}`)].flatMap((name) => (ce[name] ? [{ name, ce: mean(ce[name])! }] : []));
  if (windows.length > 0 && sweep.length === windows.length + 1) {
    const values = sweep.map((one) => one.ce);
    await context.claim(
      'windows',
      Math.max(...values) / Math.min(...values),
      sweep.map((one) => `${one.name} ${one.ce.toFixed(4)}`).join('; '),
    );
  }
  const [one, two] = [ce['history-1'], ce['history-2']];
  if (one && two) await context.claim('history', mean(one)! / mean(two)!, `one scale ${listed(one)}; two ${listed(two)}`);
}

async function claimImages(context: RunContext<Config>, { scores }: ImageFindings): Promise<void> {
  const [own, markov] = [scores['var'], scores['concat'] ?? scores['mixed']];
  if (!own || !markov) return;
  const distances = (of: typeof own): number[] => of.map(({ classifier }) => classifier);
  const ratio = mean(distances(markov))! / mean(distances(own))!;
  await context.claim('images-distance', ratio, `MVAR ${listed(distances(markov))}; VAR ${listed(distances(own))}`);
}
