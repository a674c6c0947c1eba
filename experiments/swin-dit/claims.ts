import { imageSide } from '../src/data/images.ts';
import type { ClaimDefinition } from '../src/runner/experiment.ts';
import type { Config } from './config.ts';

const alike = 'same width, depth, heads, initial streams, batches and steps for all';
const error =
  'E is the mean squared error of the predicted noise on 500 fixed fields at t = 1, 3, …, 999, less that of the exact denoiser on them';
const onFields = `Gaussian random fields; ${error}; ${alike}`;
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
const abstract = 'abstract; the text of the method could not be found, PSWA and PCCA are our reading';
const fid = 'FID 54 % better than DiT-XL/2 with less computation (Swin-DiT-L)';

/** The claims of the paper, with bounds fixed before anything was measured here. */
export const claims: readonly ClaimDefinition<Config>[] = [
  {
    id: 'pswa-dit-smoke',
    claim: 'PSWA denoises better than global attention at the same size and with less computation.',
    where: abstract,
    published: fid,
    how: `E of PSWA over E of DiT; ${onFields}`,
    scale: fieldsScale,
    bound: { atMost: 0.75 },
    presets: ['smoke'],
  },
  {
    id: 'pswa-window-smoke',
    claim: 'The bridge carries what windows alone lack.',
    where: abstract,
    published: 'adds links between windows and high frequencies; no number is known',
    how: `E of PSWA over E of windows alone; ${onFields}`,
    scale: fieldsScale,
    bound: { atMost: 0.8 },
    presets: ['smoke'],
  },
  {
    id: 'macs',
    claim: 'PSWA needs less computation than global attention.',
    where: abstract,
    published: 'less computation than DiT-XL/2 (Swin-DiT-L)',
    how: 'multiply-accumulates of the blocks, PSWA over DiT of the same depth and width, by the model that equals what is counted in the traced graph',
    scale: fieldsScale,
    bound: { atMost: 0.9 },
    presets: ['smoke', 'full'],
  },
  {
    id: 'pswa-dit',
    claim: 'PSWA denoises better than global attention at the same size and with less computation, trained for long.',
    where: abstract,
    published: fid,
    how: `E of PSWA over E of DiT; ${onFields}`,
    scale: fieldsScale,
    bound: { atMost: 0.6 },
    presets: ['full'],
  },
  {
    id: 'window-floor',
    claim: 'A network whose windows do not see each other cannot get below their exact bound L_w.',
    where: 'a condition of the comparison, not of the paper: a value below would prove a leak or a wrong loss',
    published: '-',
    how: 'error of windows alone over that of the exact denoiser of windows on the same fields, the least of the repetitions',
    scale: fieldsScale,
    bound: { atLeast: 1 },
    presets: ['smoke', 'full'],
  },
  {
    id: 'pswa-floor',
    claim: 'Information crosses the borders of windows: PSWA gets below what any denoiser of windows alone can reach.',
    where: abstract,
    published: 'adds links between windows; no number is known',
    how: `error of PSWA over that of the exact denoiser of windows on the same fields; ${onFields}`,
    scale: fieldsScale,
    bound: { atMost: 1 },
    presets: ['full'],
  },
  {
    id: 'pswa-swin',
    claim: 'The bridge does more than the shifted windows that it imitates.',
    where: abstract,
    published: 'imitates shifted windows; no comparison is known',
    how: `E of PSWA over E of Swin's windows, shifted in every other layer; ${onFields}`,
    scale: fieldsScale,
    bound: { atMost: 1 },
    presets: ['full'],
  },
  {
    id: 'seams',
    claim: 'The bridge closes the seams between windows.',
    where: abstract,
    published: 'adds links between windows; no number is known',
    how: 'jumps across windows over jumps between patches inside them, in one-step denoising from t = 500: the ratio of PSWA over that of windows alone, mean of the repetitions',
    scale: fieldsScale,
    bound: { atMost: 0.6 },
    presets: ['smoke', 'full'],
  },
  {
    id: 'pcca',
    claim: 'Progressive allocation of channels (PCCA) improves PSWA.',
    where: abstract,
    published: 'captures higher-order attention without additional computation; no number is known',
    how: `E of the ramp from 1/4 to 3/4 of the heads over E of the same number of window heads in every layer; the bound asks for more than repetitions differ by; ${onFields}`,
    scale: fieldsScale,
    bound: { atMost: 0.9 },
    presets: ['full'],
  },
  {
    id: 'pcca-cost',
    claim: 'PCCA costs nothing.',
    where: abstract,
    published: 'without additional computation',
    how: 'multiply-accumulates of the blocks, ramp over uniform allocation of the same total',
    scale: fieldsScale,
    bound: { atLeast: 1, atMost: 1 },
    presets: ['full'],
  },
  {
    id: 'attention-needed',
    claim: 'Window attention beside the bridge is better than the bridge alone.',
    where: abstract,
    published: 'implied; no number is known',
    how: `E of PSWA over E of bridging heads alone; stationary fields ask for one fixed filter, so this data cannot show a need of attention; ${onFields}`,
    scale: fieldsScale,
    bound: { atMost: 1 },
    presets: ['full'],
  },
  {
    id: 'redundancy',
    claim: 'Nearly all interactions of tokens in a trained DiT happen within a distance of 6.',
    where: 'attributed to the paper by a reading list; not found in what we could read',
    published: 'more than 99 %',
    how: 'share of the attention within 6 tokens (the larger of rows and columns), mean over heads, the least of the layers; DiT',
    scale: imagesScale,
    bound: { atLeast: 0.99 },
    presets: ['full'],
  },
  {
    id: 'images-distance',
    claim: 'PSWA draws images as well as global attention does, with less computation.',
    where: abstract,
    published: fid,
    how: 'Fréchet distance in 96 fixed random features of samples, PSWA over DiT of the same size and training',
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
        'needs ImageNet latents, networks of 433 to 675 M parameters and 400,000 steps or more of batch 256; the configurations of the paper are not known either',
    },
    presets: [],
  },
];
