import type { ClaimDefinition } from '../src/runner/experiment.ts';
import type { Config } from './config.ts';

const theory = 'SiD, arXiv 2404.04057, and the few-step mixture of arXiv 2505.12674';
const onRing = 'sliced Wasserstein distance of 128 directions from the ring of 8 Gaussians; averaged generator';

const pointsScale = ({ points: { width, depth, teacher, distill, samples, repeats } }: Config): string =>
  `${samples} samples, MLP ${depth} x ${width}, teacher of ${teacher.steps} steps, ${distill.steps} iterations of batch ${distill.batch}, ${repeats} seeds`;
const guidanceScale = ({ guidance: { width, depth, teacher, distill, repeats } }: Config): string =>
  `MLP ${depth} x ${width}, teacher of ${teacher.steps} steps, ${distill.steps} iterations of batch ${distill.batch}, ${repeats} seeds`;
const imagesScale = ({ images: { data, samples, network, teacher, distill } }: Config): string =>
  `${samples} images of ${data}, U-Net of ${network.channels} channels, teacher of ${teacher.steps} steps, ${distill.steps} iterations of batch ${distill.batch}`;
const inFeatures = 'Fréchet distance in the last hidden layer of a classifier trained on the true images';

/** The claims, with bounds fixed before anything was measured here. */
export const claims: readonly ClaimDefinition<Config>[] = [
  {
    id: 'smoke-one-step',
    claim: 'One step of SiD is far better than the teacher run in one step.',
    where: theory,
    published: 'FID 1.92 against several hundred on CIFAR-10',
    how: `ratio of SiD to the teacher without distillation, one step, after 100 iterations, a small teacher; ${onRing}`,
    scale: pointsScale,
    bound: { atMost: 0.4 },
    neutral: 1,
    presets: ['smoke'],
  },
  {
    id: 'smoke-four-steps',
    claim: 'Four steps of SiD are better than the teacher run in four steps.',
    where: theory,
    published: 'SDXL in 4 steps: FID 13.25',
    how: `ratio of SiD to the teacher without distillation, four steps, after 100 iterations, a small teacher; ${onRing}`,
    scale: pointsScale,
    bound: { atMost: 0.7 },
    neutral: 1,
    presets: ['smoke'],
  },
  {
    id: 'points-one-step',
    claim: 'After 100 iterations, one-step SiD is far better than the teacher in one step.',
    where: theory,
    published: 'FID falls exponentially fast (pictures)',
    how: `ratio of SiD to the teacher without distillation, one step, after 100 iterations; the largest of the seeds; ${onRing}`,
    scale: pointsScale,
    bound: { atMost: 0.35 },
    neutral: 1,
    presets: ['full'],
  },
  {
    id: 'points-four-steps-100',
    claim: 'Four steps are better than one, early.',
    where: 'Few-step generator',
    published: 'SDXL: FID improves from 1 to 4 steps',
    how: `ratio of four steps to one after 100 iterations, means of the seeds; same parameters, four times the network evaluations; ${onRing}`,
    scale: pointsScale,
    bound: { atMost: 0.8 },
    neutral: 1,
    presets: ['full'],
  },
  {
    id: 'points-four-steps-300',
    claim: 'Four steps are better than one, later.',
    where: 'Few-step generator',
    published: 'SDXL: FID improves from 1 to 4 steps',
    how: `ratio of four steps to one after 300 iterations, means of the seeds; ${onRing}`,
    scale: pointsScale,
    bound: { atMost: 0.9 },
    neutral: 1,
    presets: ['full'],
  },
  {
    id: 'points-log-log',
    claim: 'The distance falls about linearly in the logarithms of distance and iterations.',
    where: 'SiD, arXiv 2404.04057, figures of FID over images',
    published: 'pictures only',
    how: `correlation of the logarithms over the iterations that are scored, one step, mean of the seeds; ${onRing}`,
    scale: pointsScale,
    bound: { atMost: -0.9 },
    neutral: 0,
    presets: ['full'],
  },
  {
    id: 'points-alpha',
    claim: 'α of 0.5, 1 and 1.2 do about equally well.',
    where: 'SiD, arXiv 2404.04057, ablation of α',
    published: '1.2 and 1 are used',
    how: `largest over smallest of the means over seeds after the last iteration, one step; ${onRing}`,
    scale: pointsScale,
    bound: { atMost: 1.15 },
    presets: ['full'],
  },
  {
    id: 'points-unstable',
    claim: 'α = 2 diverges.',
    where: 'follows from the closed form for a Gaussian',
    published: '-',
    how: `distance at α = 2 over that of the teacher without distillation, after 300 iterations; the smallest of the seeds; ${onRing}`,
    scale: pointsScale,
    bound: { atLeast: 2 },
    neutral: 1,
    presets: ['full'],
  },
  {
    id: 'points-later-steps',
    claim: 'Each step of the four-step generator is better than the one before.',
    where: 'Few-step generator',
    published: 'implied',
    how: `largest ratio of one step to the one before after the last iteration, means of the seeds; ${onRing}`,
    scale: pointsScale,
    bound: { atMost: 1 },
    presets: ['full'],
  },
  {
    id: 'guidance-lsg-agreement',
    claim: 'Guidance of all networks by one scale raises the agreement with the request.',
    where: 'SiD-LSG, arXiv 2406.01561',
    published: 'CLIP 0.302, 0.313, 0.314, 0.317 at scales 1.5, 2, 3, 4.5',
    how: 'share of samples in their class by the true density, scale 4.5 less none, mean of the seeds; two classes of four overlapping modes, one step',
    scale: guidanceScale,
    bound: { atLeast: 0.02 },
    neutral: 0,
    presets: ['full'],
  },
  {
    id: 'guidance-lsg-distance',
    claim: 'Guidance of all networks by one scale costs diversity.',
    where: 'SiD-LSG, arXiv 2406.01561',
    published: 'FID 8.71, 9.56, 13.21, 16.59 at scales 1.5, 2, 3, 4.5',
    how: 'sliced Wasserstein distance at scale 4.5 over that without guidance, mean of the seeds',
    scale: guidanceScale,
    bound: { atLeast: 1.2 },
    neutral: 1,
    presets: ['full'],
  },
  {
    id: 'guidance-zero-gan',
    claim: 'With the adversarial term Zero-CFG comes nearer to the data.',
    where: 'Abstract',
    published: 'Zero-CFG and Anti-CFG are meant to be used with it',
    how: 'sliced Wasserstein distance of Zero-CFG with the adversarial term over that without, mean of the seeds',
    scale: guidanceScale,
    bound: { atMost: 1 },
    presets: ['full'],
  },
  {
    id: 'guidance-zero-gan-agreement',
    claim: 'With the adversarial term Zero-CFG keeps the agreement.',
    where: 'Abstract',
    published: 'CLIP 0.335 (SDXL, Zero-CFG with the adversarial term)',
    how: 'agreement of Zero-CFG with the adversarial term less that without, mean of the seeds',
    scale: guidanceScale,
    bound: { atLeast: -0.02 },
    presets: ['full'],
  },
  {
    id: 'images-four-steps',
    claim: 'A student in few steps is about as good as its teacher in fifty.',
    where: theory,
    published: 'below the teacher on CIFAR-10, FFHQ, ImageNet-64',
    how: `ratio of the student in the most steps to the teacher in fifty; ${inFeatures}`,
    scale: imagesScale,
    bound: { atMost: 1.1 },
    presets: ['images', 'mnist'],
  },
  {
    id: 'images-one-step',
    claim: 'A student in one step is far better than its teacher in one step.',
    where: theory,
    published: 'FID 1.92 against several hundred on CIFAR-10',
    how: `ratio of the student in one step to the teacher in one; ${inFeatures}`,
    scale: imagesScale,
    bound: { atMost: 0.35 },
    neutral: 1,
    presets: ['images', 'mnist', 'paper'],
  },
  {
    id: 'images-beats-teacher',
    claim: 'With the adversarial term the student is better than its teacher.',
    where: 'SiDA, arXiv 2410.14919',
    published: 'FID 1.40 against 1.79 of the teacher (CIFAR-10 with classes)',
    how: `ratio of the student with the adversarial term, in the most steps and without guidance, to the teacher in fifty; ${inFeatures}`,
    scale: imagesScale,
    bound: { atMost: 1 },
    presets: ['images', 'mnist', 'paper'],
  },
  outOfReach('sdxl', 'SDXL at 1024 pixels in 4 steps, Zero-CFG with the adversarial term.', 'FID 13.25, CLIP 0.335 (DMD2 19.32, 0.332)'),
  outOfReach('sd15', 'Stable Diffusion 1.5 in one step with the adversarial term.', 'FID 7.89'),
  outOfReach('sd15-lsg', 'Stable Diffusion 1.5 in one step, guidance by one scale (SiD-LSG).', 'FID 8.15 to 16.59, CLIP 0.302 to 0.317'),
  outOfReach('cifar10', 'CIFAR-10 with and without classes in one step.', 'FID 1.710 and 1.923; with the adversarial term 1.396 and 1.499'),
  outOfReach('imagenet', 'ImageNet at 64 and 512 pixels in one step.', 'FID 1.110 (64), 1.366 (512, XXL)'),
  outOfReach('dit', 'Flow-matching transformers (SANA, SD3, SD3.5, FLUX) in 4 steps.', 'FID 21.05 to 29.43, CLIP 0.327 to 0.341'),
];

function outOfReach(id: string, claim: string, published: string): ClaimDefinition<Config> {
  const reason =
    'needs networks of 56 million to 12 billion parameters, their weights, and 5 to 1000 million images of training; two cores would need decades';
  return { id, claim, where: 'headline numbers', published, how: 'not measured', bound: { outOfReach: reason }, presets: [] };
}
