import { streamSide } from '../src/data/image-stream.ts';
import type { ClaimDefinition } from '../src/runner/experiment.ts';
import type { Config } from './config.ts';

/** The network and data of a row. */
const networkScale = ({ data, side, weights, network }: Config): string => {
  const { patchSize, blocks, width } = network;
  const pixels = streamSide(data, side);
  const made = weights === 'stored' ? ', with the weights of the parity tests' : '';
  return `${pixels} x ${pixels} ${data}, ${(pixels / patchSize) ** 2} tokens, ${blocks} blocks, width ${width}${made}`;
};
const iterationsScale = (config: Config): string => `batch ${config.iterations.batch}; ${networkScale(config)}`;
const strategiesScale = (config: Config): string => `batch ${config.strategies.batch}; ${networkScale(config)}`;
const table =
  'error is the root mean square difference from the sequential samples of the same noise, without clamping; in [b-s-i-j], block b has s segments with i iterations each, and all other blocks have j iterations; top is the block with the largest CRM; all blocks start from their noise';
const speed = 'README of the official code, table of speed-ups';

/** The claims of the paper, with bounds fixed before anything was measured here. */
export const claims: readonly ClaimDefinition<Config>[] = [
  {
    id: 'tough-block',
    claim: 'One block of the flow converges slowly, and the convergence ranking metric (CRM) says which.',
    where: 'Sec. on CRM; README, table of CRM%',
    published: 'one or two of eight blocks have 43 to 75 % of the total CRM, and are cut into segments',
    how: 'Jacobi iterations to ε = 1e-6: those of the block with the largest CRM divided by the largest number of any other block; all blocks start from their noise',
    scale: iterationsScale,
    bound: { atLeast: 2 },
    neutral: 1,
    presets: ['smoke', 'full'],
  },
  {
    id: 'easy-blocks',
    claim: 'All other blocks need only few iterations.',
    where: 'Sec. on CRM',
    published: 'at most 6 to 20 iterations for 256 or 1024 tokens',
    how: 'largest number of Jacobi iterations to ε = 1e-6 of any other block, divided by the number of tokens; all blocks start from their noise',
    scale: iterationsScale,
    bound: { atMost: 1 / 3 },
    neutral: 1,
    presets: ['smoke', 'full'],
  },
  {
    id: 'equal-work',
    claim: 'At equal work, segments in the slow block leave far less error than plain Jacobi.',
    where: 'Sec. on GS-Jacobi; plots of FID against iterations',
    published: 'only plots',
    how: `error of [top-8-8-10] divided by the error of Jacobi with 10 iterations; ${table}`,
    scale: strategiesScale,
    bound: { atMost: 0.05 },
    neutral: 1,
    presets: ['smoke', 'full'],
  },
  {
    id: 'equal-depth',
    claim: 'At equal depth, segments in the slow block leave less error than plain Jacobi.',
    where: 'Sec. on GS-Jacobi; plots of FID against iterations',
    published: 'only plots',
    how: `error of [top-2-16-10] (depth 62) divided by the error of Jacobi with 15 iterations (depth 60); ${table}`,
    scale: strategiesScale,
    bound: { atMost: 0.3 },
    neutral: 1,
    presets: ['full'],
  },
  {
    id: 'right-block',
    claim: 'It matters which block is cut into segments.',
    where: 'Sec. on CRM',
    published: 'the blocks with the largest CRM are cut',
    how: `error of [top-2-8-5] divided by the error of [0-2-8-5], which has the same depth and work; ${table}`,
    scale: strategiesScale,
    bound: { atMost: 0.65 },
    neutral: 1,
    presets: ['full'],
  },
  {
    id: 'depth-close',
    claim: 'Far fewer steps one after the other give nearly the same sample as sequential sampling.',
    where: 'Abstract',
    published: '4.53, 5.32, 2.96 and 2.51 times as fast, with nearly the same FID',
    how: 'depth of sequential sampling divided by the depth of a strategy, the largest value of all strategies with an error below 1e-3',
    scale: strategiesScale,
    bound: { atLeast: 2.5 },
    neutral: 1,
    presets: ['full'],
  },
  {
    id: 'depth-near',
    claim: 'Even fewer steps give a sample that still looks the same.',
    where: 'Abstract',
    published: '4.53, 5.32, 2.96 and 2.51 times as fast, with nearly the same FID',
    how: 'depth of sequential sampling divided by the depth of a strategy, the largest value of all strategies with an error below 1e-2',
    scale: strategiesScale,
    bound: { atLeast: 4 },
    neutral: 1,
    presets: ['full'],
  },
  {
    id: 'denoised',
    claim: 'After the final denoising, the remaining error cannot be seen.',
    where: 'Sec. on sampling',
    published: 'FID of sequential sampling and of GS-Jacobi: 5.06 and 5.09, 13.60 and 13.73, 14.67 and 14.80, 4.42 and 4.42',
    how: 'root mean square difference between the denoised images (λ = 1) of [top-8-8-10] and of sequential sampling',
    scale: strategiesScale,
    bound: { atMost: 2e-3 },
    presets: ['full'],
  },
  {
    id: 'converges',
    claim: 'The iteration converges to the sequential sample, from both initial guesses.',
    where: 'Sec. on the fixed point',
    published: 'follows from theory: the Jacobian is strictly triangular, so T - 1 iterations are exact',
    how: 'largest absolute difference of any value from the sequential images; ε = 1e-6, without clamping, float32',
    scale: iterationsScale,
    bound: { atMost: 1e-4 },
    presets: ['smoke', 'full', 'mnist', 'cifar10', 'paper'],
  },
  {
    id: 'exact',
    claim: 'Ours: iterating only tokens that are not yet proven exact gives the sequential sample.',
    where: 'not in the paper; follows from its strictly triangular Jacobian',
    published: '-',
    how: 'largest absolute difference of any value from the sequential images; windows of a quarter of the tokens, guesses confirmed to 1e-6, float32',
    scale: iterationsScale,
    bound: { atMost: 1e-4 },
    presets: ['smoke', 'full', 'mnist', 'cifar10', 'paper'],
  },
  {
    id: 'planner',
    claim: 'Ours: with a planned strategy, the error of new samples stays below the goal.',
    where: 'not in the paper, which gives no rule for choosing a strategy',
    published: '-',
    how: 'error of the worst new sample with the planned strategy, divided by the wanted error',
    scale: (config) =>
      `wanted error ${config.planner.rmse}, ${config.planner.pilots} samples for planning, 16 new samples; ${networkScale(config)}`,
    bound: { atMost: 1 },
    presets: ['full', 'mnist', 'cifar10'],
  },
  ...outOfReach(
    'rate-img128',
    '4.53 times as fast as sequential sampling on ImageNet-128',
    'sequential: time 133.19, FID 5.06; GS-Jacobi: time 29.41, FID 5.09',
  ),
  ...outOfReach(
    'rate-afhq',
    '5.32 times as fast as sequential sampling on AFHQ-256',
    'sequential: time 109.24, FID 13.60; GS-Jacobi: time 20.54, FID 13.73',
  ),
  ...outOfReach(
    'rate-img64uncond',
    '2.96 times as fast as sequential sampling on ImageNet-64 without classes',
    'sequential: time 109.05, FID 14.67; GS-Jacobi: time 36.84, FID 14.80',
  ),
  ...outOfReach(
    'rate-img64cond',
    '2.51 times as fast as sequential sampling on ImageNet-64 with classes',
    'sequential: time 12.16, FID 4.42; GS-Jacobi: time 4.97, FID 4.42',
  ),
  {
    id: 'guess-overflow',
    claim: 'The initial guessing metric (IGM) chooses initial guesses whose iteration does not overflow.',
    where: 'Sec. on IGM',
    published: 'no IGM values were found; the guesses differ from block to block',
    how: 'not measured',
    bound: { outOfReach: 'networks of this size never overflow, and the numbers of iterations from both guesses differ by at most one' },
    presets: [],
  },
];

function outOfReach(id: string, what: string, published: string): ClaimDefinition<Config>[] {
  const reason =
    'needs the checkpoints of 460 to 824 million parameters and a GPU: iterating all tokens multiplies the arithmetic, and two cores are too slow for it; `pnpm bench gs-jacobi` measures this machine';
  return [{ id, claim: `GS-Jacobi is ${what}.`, where: speed, published, how: 'not measured', bound: { outOfReach: reason }, presets: [] }];
}
