import { streamSide } from '../src/data/image-stream.ts';
import type { ClaimDefinition } from '../src/runner/experiment.ts';
import type { Config } from './config.ts';

/** The network that a row is about. */
const networkScale = ({ data, side, weights, network }: Config): string => {
  const { patchSize, blocks, width } = network;
  const pixels = streamSide(data, side);
  const made = weights === 'stored' ? ', as trained for the parity tests' : '';
  return `${pixels} x ${pixels} ${data}, ${(pixels / patchSize) ** 2} tokens, ${blocks} blocks, width ${width}${made}`;
};
const iterationsScale = (config: Config): string => `batch ${config.iterations.batch}; ${networkScale(config)}`;
const strategiesScale = (config: Config): string => `batch ${config.strategies.batch}; ${networkScale(config)}`;
const table =
  'root mean square against the sequential samples of the same noise, clamp off, all guesses the noise, iterations as the name says';
const speed = 'README of the code, table of rates';

/** The claims of the paper, with bounds fixed before anything was measured here. */
export const claims: readonly ClaimDefinition<Config>[] = [
  {
    id: 'tough-block',
    claim: 'The convergence ranking metric (CRM) finds the block that needs most iterations.',
    where: 'Sec. on CRM; README, table of CRM%',
    published: 'one or two blocks of eight have 43 to 75 % of the CRM and get segments',
    how: 'Jacobi iterations to ε = 1e-6 of the block with the largest CRM, over the most that any other block needs; all blocks start from their noise',
    scale: iterationsScale,
    bound: { atLeast: 2 },
    presets: ['smoke', 'full'],
  },
  {
    id: 'easy-blocks',
    claim: 'All other blocks converge in few iterations.',
    where: 'Sec. on CRM',
    published: 'at most 6 to 20 iterations for 256 or 1024 tokens',
    how: 'most Jacobi iterations to ε = 1e-6 of any other block, over the number of tokens; all blocks start from their noise',
    scale: iterationsScale,
    bound: { atMost: 1 / 3 },
    presets: ['smoke', 'full'],
  },
  {
    id: 'equal-work',
    claim: 'At equal work, segments in the tough block leave far less error than Jacobi iteration of all tokens.',
    where: 'Sec. on GS-Jacobi; figures of FID over iterations',
    published: 'pictures only',
    how: `error of [top-8-8-10] over that of Jacobi with 10 iterations; ${table}`,
    scale: strategiesScale,
    bound: { atMost: 0.05 },
    presets: ['smoke', 'full'],
  },
  {
    id: 'equal-depth',
    claim: 'At equal depth, segments in the tough block leave less error than Jacobi iteration of all tokens.',
    where: 'Sec. on GS-Jacobi; figures of FID over iterations',
    published: 'pictures only',
    how: `error of [top-2-16-10] (depth 62) over that of Jacobi with 15 iterations (depth 60); ${table}`,
    scale: strategiesScale,
    bound: { atMost: 0.3 },
    presets: ['full'],
  },
  {
    id: 'right-block',
    claim: 'It matters which block gets the segments.',
    where: 'Sec. on CRM',
    published: 'stacks follow the CRM',
    how: `error of [top-2-8-5] over that of [0-2-8-5], which is as deep and as much work; ${table}`,
    scale: strategiesScale,
    bound: { atMost: 0.65 },
    presets: ['full'],
  },
  {
    id: 'depth-close',
    claim: 'Far fewer steps one after the other give nearly the sequential sample.',
    where: 'Abstract',
    published: '4.53, 5.32, 2.96 and 2.51 times faster without a loss of FID',
    how: 'largest ratio of depths, sequential over strategy, among the strategies with an error below 1e-3',
    scale: strategiesScale,
    bound: { atLeast: 2.5 },
    presets: ['full'],
  },
  {
    id: 'depth-near',
    claim: 'Fewer steps still give a sample that looks the same.',
    where: 'Abstract',
    published: '4.53, 5.32, 2.96 and 2.51 times faster without a loss of FID',
    how: 'largest ratio of depths, sequential over strategy, among the strategies with an error below 1e-2',
    scale: strategiesScale,
    bound: { atLeast: 4 },
    presets: ['full'],
  },
  {
    id: 'denoised',
    claim: 'What is left of the error does not show after denoising.',
    where: 'Sec. on sampling',
    published: 'FID 5.06 against 5.09, 13.60 against 13.73, 14.67 against 14.80, 4.42 against 4.42',
    how: 'root mean square difference of the denoised images (λ = 1) of [top-8-8-10] and of sequential sampling',
    scale: strategiesScale,
    bound: { atMost: 2e-3 },
    presets: ['full'],
  },
  {
    id: 'converges',
    claim: 'The iteration converges to the sequential sample, from either guess.',
    where: 'Sec. on the fixed point',
    published: 'implied: the Jacobian is strictly triangular, so T - 1 iterations are exact',
    how: 'largest absolute difference of any value from the sequential images, ε = 1e-6, clamp off, float32',
    scale: iterationsScale,
    bound: { atMost: 1e-4 },
    presets: ['smoke', 'full', 'mnist', 'cifar10', 'paper'],
  },
  {
    id: 'exact',
    claim: 'Ours: iteration that freezes every token as soon as it is proven gives the sequential sample.',
    where: 'not in the paper; follows from its strictly triangular Jacobian',
    published: '-',
    how: 'largest absolute difference of any value from the sequential images, windows of a quarter of the tokens, guesses confirmed to 1e-6, float32',
    scale: iterationsScale,
    bound: { atMost: 1e-4 },
    presets: ['smoke', 'full', 'mnist', 'cifar10', 'paper'],
  },
  {
    id: 'planner',
    claim:
      'Ours: a planned strategy, which iterates on where a sample changes too much, keeps within the error that is asked for on new samples.',
    where: 'not in the paper, which gives no rule',
    published: '-',
    how: 'error of the worst new sample by the planned strategy, over the error that was asked for',
    scale: (config) => `asked for ${config.planner.rmse}, ${config.planner.pilots} samples to plan with, 16 new ones; ${networkScale(config)}`,
    bound: { atMost: 1 },
    presets: ['full', 'mnist', 'cifar10'],
  },
  ...outOfReach('rate-img128', '4.53 times faster on ImageNet-128', '133.19 against 29.41, FID 5.06 against 5.09'),
  ...outOfReach('rate-afhq', '5.32 times faster on AFHQ-256', '109.24 against 20.54, FID 13.60 against 13.73'),
  ...outOfReach('rate-img64uncond', '2.96 times faster on ImageNet-64 without classes', '109.05 against 36.84, FID 14.67 against 14.80'),
  ...outOfReach('rate-img64cond', '2.51 times faster on ImageNet-64 with classes', '12.16 against 4.97, FID 4.42 against 4.42'),
  {
    id: 'guess-overflow',
    claim: 'The initial guessing metric (IGM) chooses guesses that do not overflow.',
    where: 'Sec. on IGM',
    published: 'IGM values were not found; guesses differ from block to block',
    how: 'not measured',
    bound: { outOfReach: 'networks of this size never overflow, and both guesses need the same number of iterations within one' },
    presets: [],
  },
];

function outOfReach(id: string, what: string, published: string): ClaimDefinition<Config>[] {
  const reason =
    'needs the checkpoints of 460 to 824 million parameters and a GPU: iterating all tokens multiplies the arithmetic, which two cores have none to spare of; pnpm bench gs-jacobi measures this machine';
  return [
    { id, claim: `GS-Jacobi samples ${what}.`, where: speed, published, how: 'not measured', bound: { outOfReach: reason }, presets: [] },
  ];
}
