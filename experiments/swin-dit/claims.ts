import { imageSide } from '../src/data/images.ts';
import type { ClaimDefinition } from '../src/runner/experiment.ts';
import type { Config } from './config.ts';

const alike = 'all networks have the same width, depth, heads, initial random numbers, batches and steps';
const error =
  'E is the mean squared error of the predicted noise on 500 fixed fields at t = 1, 3, …, 999, minus the error of the exact denoiser on these fields';
const onFields = `the data are Gaussian random fields; ${error}; ${alike}`;
const fieldsScale = ({ fields }: Config): string => {
  const { grid, patchSize, window, width, depth, training, repeats } = fields;
  const sizes = `${square(grid * patchSize)} pixels, ${square(grid)} tokens, windows of ${square(window)}, width ${width}, ${depth} layers`;
  return `${sizes}, ${training.steps} steps${repeats > 1 ? `, mean of ${repeats} repetitions` : ''}`;
};
const imagesScale = ({ images }: Config): string => {
  const { data, network, training, samples } = images;
  const tokens = square(imageSide(images) / network.patchSize);
  return `${samples} images of ${data}, ${tokens} tokens, width ${network.width}, ${network.depth} layers, ${training.steps} steps`;
};
const square = (side: number): string => `${side} x ${side}`;
/** PSWA: some heads attend in windows, the others are a bridge (a convolution) across the borders of windows. */
const abstract = 'abstract; the text of the method could not be found, so PSWA and PCCA are our own design';
const fid = 'FID 54 % better than DiT-XL/2 with less computation (Swin-DiT-L)';

/** The claims of the paper, with bounds fixed before anything was measured here. */
export const claims: readonly ClaimDefinition<Config>[] = [
  {
    id: 'pswa-dit-smoke',
    claim: 'Window attention with a bridge (PSWA) denoises better than global attention, with less computation.',
    where: abstract,
    published: fid,
    how: `E of PSWA divided by E of DiT; ${onFields}`,
    scale: fieldsScale,
    bound: { atMost: 0.75 },
    neutral: 1,
    presets: ['smoke'],
  },
  {
    id: 'pswa-window-smoke',
    claim: 'The bridge between windows carries information that a network with only windows lacks.',
    where: abstract,
    published: 'adds links between windows and high frequencies; no number is known',
    how: `E of PSWA divided by E of a network with only windows; ${onFields}`,
    scale: fieldsScale,
    bound: { atMost: 0.8 },
    neutral: 1,
    presets: ['smoke'],
  },
  {
    id: 'macs',
    claim: 'A network with PSWA needs less computation than one with global attention.',
    where: abstract,
    published: 'less computation than DiT-XL/2 (Swin-DiT-L)',
    how: 'multiply-accumulates of the blocks, PSWA divided by DiT of the same depth and width, by a formula that equals the count in the traced graph',
    scale: fieldsScale,
    bound: { atMost: 0.9 },
    neutral: 1,
    presets: ['smoke', 'full'],
  },
  {
    id: 'pswa-dit',
    claim: 'After longer training, PSWA still denoises better than global attention, with less computation.',
    where: abstract,
    published: fid,
    how: `E of PSWA divided by E of DiT; ${onFields}`,
    scale: fieldsScale,
    bound: { atMost: 0.6 },
    neutral: 1,
    presets: ['full'],
  },
  {
    id: 'window-floor',
    claim: 'Windows alone never fall below L_w, the smallest error possible without links between them.',
    where: 'a condition for the comparison, not a claim of the paper: a value below 1 would prove a leak between windows or a wrong loss',
    published: '-',
    how: 'error of the network with only windows divided by the error of the exact denoiser of separate windows (L_w) on the same fields, smallest value of all repetitions',
    scale: fieldsScale,
    bound: { atLeast: 1 },
    presets: ['smoke', 'full'],
  },
  {
    id: 'pswa-floor',
    claim: 'Information crosses the borders of windows: the error of PSWA is below L_w.',
    where: abstract,
    published: 'adds links between windows; no number is known',
    how: `error of PSWA divided by the error of the exact denoiser of separate windows (L_w) on the same fields; ${onFields}`,
    scale: fieldsScale,
    bound: { atMost: 1 },
    presets: ['full'],
  },
  {
    id: 'pswa-swin',
    claim: 'The bridge of PSWA is better than the shifted windows of Swin, which it imitates.',
    where: abstract,
    published: 'imitates shifted windows; no comparison is known',
    how: `E of PSWA divided by E of a network with Swin's windows, shifted in every other layer; ${onFields}`,
    scale: fieldsScale,
    bound: { atMost: 1 },
    presets: ['full'],
  },
  {
    id: 'seams',
    claim: 'With the bridge, there are hardly any visible borders between windows.',
    where: abstract,
    published: 'adds links between windows; no number is known',
    how: 'size of jumps at borders of windows divided by jumps between patches inside windows, after one-step denoising from t = 500: this number for PSWA divided by the number for a network with only windows, mean of the repetitions',
    scale: fieldsScale,
    bound: { atMost: 0.6 },
    neutral: 1,
    presets: ['smoke', 'full'],
  },
  {
    id: 'pcca',
    claim: 'PSWA improves if the share of window heads changes with depth (PCCA).',
    where: abstract,
    published: 'captures higher-order attention without additional computation; no number is known',
    how: `E with window heads growing from 1/4 to 3/4 of the heads, divided by E with the same number of window heads in every layer; the bound is lower than 1 by more than the difference between repetitions; ${onFields}`,
    scale: fieldsScale,
    bound: { atMost: 0.9 },
    neutral: 1,
    presets: ['full'],
  },
  {
    id: 'pcca-cost',
    claim: 'Progressive allocation of channels (PCCA) needs no additional computation.',
    where: abstract,
    published: 'without additional computation',
    how: 'multiply-accumulates of the blocks, with a growing number of window heads divided by those with an equal number in every layer; the total number is the same',
    scale: fieldsScale,
    bound: { atLeast: 1, atMost: 1 },
    presets: ['full'],
  },
  {
    id: 'attention-needed',
    claim: 'Window attention and bridge together are better than only the bridge.',
    where: abstract,
    published: 'follows from the method; no number is known',
    how: `E of PSWA divided by E of a network with only bridges; such fields need only one fixed filter, so this data cannot show that attention is needed; ${onFields}`,
    scale: fieldsScale,
    bound: { atMost: 1 },
    presets: ['full'],
  },
  {
    id: 'redundancy',
    claim: 'In a trained DiT, tokens attend almost only to tokens within a distance of 6.',
    where: 'a reading list attributes this to the paper; we did not find it in the parts that we could read',
    published: 'more than 99 %',
    how: 'share of the attention within a distance of 6 tokens (the larger one of rows and columns), mean over heads, smallest value of all layers; DiT',
    scale: imagesScale,
    bound: { atLeast: 0.99 },
    presets: ['full'],
  },
  {
    id: 'images-distance',
    claim: 'PSWA draws images as well as global attention, with less computation.',
    where: abstract,
    published: fid,
    how: 'Fréchet distance between samples and data in 96 fixed random features, PSWA divided by DiT of the same size and training',
    scale: (config) => `${config.images.samplingSteps} steps of ${config.images.sampler.toUpperCase()}; ${imagesScale(config)}`,
    bound: { atMost: 1 },
    presets: ['full', 'mnist', 'cifar10', 'paper'],
  },
  {
    id: 'imagenet',
    claim: 'Swin-DiT-L is better than DiT-XL/2 on ImageNet 256 x 256 with less computation.',
    where: 'abstract',
    published: fid,
    how: 'not measured',
    bound: {
      outOfReach:
        'needs ImageNet latents, networks of 433 to 675 M parameters and at least 400,000 steps of batch 256; also, the settings of the paper are not known',
    },
    presets: [],
  },
];
