import { mean } from 'd3-array';
import { savingAtShare } from '@atelier/vsa';
import { barChart } from '../src/pictures/bar-chart.ts';
import { lineChart } from '../src/pictures/line-chart.ts';
import type { RunContext } from '../src/runner/experiment.ts';
import type { Config, Variant } from './config.ts';
import { dictionarySettings, TILES, type DictionaryFindings, type Trained } from './dictionary.ts';
import { methods } from './methods.ts';
import { DICTIONARY_GRID, DICTIONARY_TILE } from './patch-dictionary.ts';
import { operations } from './training.ts';

/** Share of dense attention in the operations of the paper's network of 410 M parameters, and its density. */
const PAPER = { share: 0.691, density: 1 / 8 } as const;

const product = (values: readonly number[]): number => values.reduce((a, b) => a * b, 1);

/** Errors of all variants, and what they are in the ledger. */
export async function claimDictionary(context: RunContext<Config>, found: DictionaryFindings): Promise<void> {
  const { dictionary } = context.config;
  const { variants, adaptation } = found;
  const errors = (Object.entries(variants) as [Variant, Trained][]).map(([name, { error }]) => `${name} ${error.toFixed(3)}`).join(', ');
  const gap = async (id: string, other: Variant): Promise<void> => {
    if (variants.vsa && variants[other]) await context.claim(id, variants.vsa.error - variants[other].error, `errors: ${errors}`);
  };
  await gap('vsa-full', 'full');
  await gap('vsa-local', 'local');
  await gap('coarse-output', 'fine');
  if (variants.vsa) {
    const masses = (Object.entries(variants) as [Variant, Trained][])
      .map(([name, { mass }]) => `${name} ${mass.map((m) => m.toFixed(2)).join(' / ')}`)
      .join(', ');
    const byChance = dictionary.keep / TILES;
    await context.claim('captured-mass', mean(variants.vsa.mass)! / byChance, `by layer: ${masses}; by chance ${byChance}`);
    await context.claim('learns', variants.vsa.error, `after ${dictionary.training.steps} steps`);
  }
  if (variants.vsa && variants.full) await claimOperations(context, variants.full, variants.vsa);
  if (!adaptation) return;
  const { full, zeroGate, randomGate, withoutTraining, annealed, direct, continued } = adaptation;
  const listed = Object.entries({ full, zeroGate, randomGate, withoutTraining, annealed, direct, continued })
    .map(([name, error]) => `${name} ${error.toFixed(4)}`)
    .join(', ');
  await context.claim('zero-gate', Math.abs(zeroGate - full), listed);
  await context.claim('random-gate', Math.abs(randomGate - full), listed);
  await context.claim('adaptation', annealed - continued, listed);
}

/** Operations of full attention over those of sparse attention when sparse attention first has an error as low as the full one's last. */
async function claimOperations(context: RunContext<Config>, full: Trained, vsa: Trained): Promise<void> {
  const { dictionary } = context.config;
  const size = { tokens: product(DICTIONARY_GRID), volume: product(DICTIONARY_TILE), keep: dictionary.keep };
  const each = operations(dictionarySettings(dictionary, true), size);
  const formula = savingAtShare(PAPER.share, PAPER.density);
  const atPaper = `the formula gives ${formula.toFixed(2)} at the share of attention of the 410 M network`;
  const reached = vsa.errors.find(([, error]) => error <= full.error);
  const ends = `error ${full.error.toFixed(3)} after ${dictionary.training.steps} steps of full`;
  // Nothing is saved if the error is never reached.
  if (!reached) return context.claim('training-flops', 0, `${ends}, never reached by sparse attention in as many steps; ${atPaper}`);
  const ratio = (each.full * dictionary.training.steps) / (each.vsa * reached[0]);
  const detail = `${ends} and ${reached[0]} of sparse attention, whose steps cost ${(each.full / each.vsa).toFixed(2)} times less; ${atPaper}`;
  await context.claim('training-flops', ratio, detail);
}

/** Errors against steps and against operations, errors against the number of tiles, and captured mass. */
export async function drawDictionary(context: RunContext<Config>, { variants, sweep }: DictionaryFindings): Promise<void> {
  const { dictionary } = context.config;
  const curves = (['full', 'vsa'] as const).flatMap((name) => {
    const points = variants[name]?.errors ?? [];
    return points.length > 1 ? [{ name: methods[name]!.method, color: methods[name]!.color, points }] : [];
  });
  if (curves.length > 0)
    await context.figure('errors', lineChart(curves, { title: 'held-out error', x: 'step', dots: true }), 'Held-out error against steps.');
  if (sweep.length > 1)
    await context.figure(
      'sweep',
      lineChart([{ name: `trained with ${dictionary.keep}`, color: methods['vsa']!.color, points: sweep }], {
        title: 'held-out error',
        x: 'selected tiles',
        logX: true,
        dots: true,
      }),
      'Held-out error of the trained network with other numbers of selected tiles, without training it again.',
    );
  const names = Object.keys(variants) as Variant[];
  if (names.length === 0) return;
  const layers = variants[names[0]!]!.mass.map((_, layer) => `layer ${layer + 1}`);
  const series = names.map((name) => ({ name: methods[name]!.method, color: methods[name]!.color, values: variants[name]!.mass }));
  await context.figure(
    'captured-mass',
    barChart([{ title: 'share of the weights of dense attention', series }], { groups: layers, width: 520 }),
    `Captured mass of ${dictionary.keep} of ${TILES} tiles; by chance ${(dictionary.keep / TILES).toFixed(3)}. For full attention: of the tiles with the best scores.`,
  );
}
