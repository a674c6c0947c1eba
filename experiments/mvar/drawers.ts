import { FIGURE_CLASSES } from '@atelier/datasets';
import {
  dctImages,
  decodeLatents,
  initMvar,
  initTokenizer,
  mvarSampler,
  quantizerConfig,
  tokenCount,
  type QuantizerConfig,
  type QuantizerParams,
  type TokenizerParams,
} from '@atelier/mvar';
import { tf, type Tensor, type Tree } from '@atelier/tensor';
import { factsOfRead } from '../src/data/images.ts';
import type { Drawer, NamedDrawer, SavedRun } from '../src/runner/experiment.ts';
import { savedWeights } from '../src/training/saved-weights.ts';
import type { Config, Figures, Images, Kind } from './config.ts';
import { FIGURE_CHANNELS, figureCodes, figureModels } from './figures.ts';
import { tokenizerSettings } from './images.ts';
import { model, type Model } from './training.ts';

const SIDE = 32;

/** Turns tokens into images. */
type Tokenizer = { codes: QuantizerParams; coding: QuantizerConfig; weights: Tree; images(latents: Tensor): Tensor };
type Facts = Pick<Drawer, 'data' | 'shape' | 'classNames'>;

/** The order in which networks are shown: MVAR trained one group at a time, MVAR with all groups at once, VAR. */
const ORDER: readonly Kind[] = ['mixed', 'concat', 'var'];

/** The networks of the first repetition, MVAR before VAR. */
export function drawers(run: SavedRun<Config>): NamedDrawer[] {
  const { parts, images, figures } = run.config;
  const found: NamedDrawer[] = [];
  const markovFirst = (models: Model[]): Model[] => [...models].sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind));
  if (parts.includes('images')) {
    const { name, channels, classes, classNames } = factsOfRead(images.data);
    const facts = { data: `${name}, padded to ${SIDE} x ${SIDE} pixels`, shape: [SIDE, SIDE, channels], classNames };
    const coding = quantizerConfig.parse(tokenizerSettings(images, { channels }).quantizer);
    for (const one of markovFirst(images.kinds.map((kind) => model(kind, images, { coding, classes }))))
      found.push(named(run, `images-${one.name}-1`, one, images, facts, () => trainedTokenizer(run, images, channels)));
  }
  if (parts.includes('figures')) {
    const facts = { data: `drawn figures of ${SIDE} x ${SIDE} pixels`, shape: [SIDE, SIDE, 1], classNames: FIGURE_CLASSES };
    const rng = run.rng.child('figures');
    const tokenizer = async (): Promise<Tokenizer> => {
      const { dct, coding, codes } = figureCodes(rng, figures);
      return { codes, coding, weights: codes as unknown as Tree, images: (latents) => dctImages(latents, dct) };
    };
    const { ladder, codes } = figures;
    const coding = quantizerConfig.parse({ ladder, codes, channels: FIGURE_CHANNELS, ratio: 0 });
    for (const one of markovFirst(figureModels(figures, coding, FIGURE_CLASSES.length)))
      found.push(named(run, `figures-${one.name}-1`, one, figures, facts, tokenizer));
  }
  return found;
}

async function trainedTokenizer({ checkpoints, rng }: SavedRun<Config>, config: Images, channels: number): Promise<Tokenizer> {
  const settings = tokenizerSettings(config, { channels });
  const params = (await savedWeights(
    checkpoints,
    'tokenizer',
    () => initTokenizer(rng, settings) as TokenizerParams & Tree,
  )) as TokenizerParams;
  const images = (latents: Tensor): Tensor => tf.clipByValue(decodeLatents(params, latents, settings), -1, 1);
  return { codes: params.quantize, coding: quantizerConfig.parse(settings.quantizer), weights: params as unknown as Tree, images };
}

function named(
  { checkpoints, rng }: SavedRun<Config>,
  name: string,
  { config, label }: Model,
  { guidance, topK, topP }: Figures | Images,
  facts: Facts,
  tokenizer: () => Promise<Tokenizer>,
): NamedDrawer {
  return {
    name,
    async open(): Promise<Drawer> {
      const params = await savedWeights(checkpoints, name, () => initMvar(rng, config));
      const { codes, coding, weights, images } = await tokenizer();
      const sampler = mvarSampler(config, coding);
      return {
        ...facts,
        weights: { params, tokenizer: weights } as Tree,
        method: `${label} scale by scale, ${config.ladder.length} evaluations of the network, guidance ${guidance}`,
        noise: (n) => ({ noise: { shape: [n, tokenCount(config.ladder), 1], law: 'uniform' } }),
        draw: ({ noise, y }) => images(sampler.sample({ params, codes, y: y! }, noise!, { guidance, topK, topP }).latents),
      };
    },
  };
}
