import type { ClaimDefinition } from '../src/runner/experiment.ts';
import type { Config, Points, TangentName } from './config.ts';

const networks = 'both have the same network, initial weights, batches and steps, and use averaged weights';
const onPoints = `distance is the energy distance between samples and the data, a 4 x 4 checkerboard; ${networks}`;
const onImages = `distance is the Fréchet distance between samples and data in 96 fixed random features; ${networks}`;
const ofCost =
  'median time of a training step, MeanFlow divided by flow matching; the JVP is computed only for the rows with r < t, so about 1 + their share is expected';

const pointsText = ({ samples, width, depth, training: { steps, p } }: Points): string =>
  `${samples} samples, MLP ${depth} x ${width}, ${steps} steps, p = ${p}`;
const gaussianScale = ({ gaussian }: Config): string => pointsText(gaussian);
const pointsScale = ({ points }: Config): string => pointsText(points);
const imagesScale = ({ images: { data, samples, network, training } }: Config): string =>
  `${samples} images of ${data}, DiT of ${network.depth} layers of width ${network.width}, ${training.steps} steps of batch ${training.batch}, p = ${training.p}`;

const table1 = 'Table 1 (ablations, B/4, 80 epochs)';

/** FID-50K of one-step samples of MeanFlow-B/4 with each wrong direction of the JVP (table 1b). (0, 0, 1) is our own control. */
const publishedTangents: Record<TangentName, string> = {
  'v,0,0': 'FID 268.06; with (v, 0, 1) it is 61.06',
  'v,1,0': 'FID 329.22; with (v, 0, 1) it is 61.06',
  'v,1,1': 'FID 137.96; with (v, 0, 1) it is 61.06',
  '0,0,1': 'not published; our own control',
};

export const tangentClaim = (where: 'points' | 'images', name: TangentName): string => `${where}-tangent-${name.replaceAll(',', '')}`;

const tangentClaims = (['points', 'images'] as const).flatMap((where) =>
  (Object.keys(publishedTangents) as TangentName[])
    .filter((name) => where === 'points' || name !== '0,0,1')
    .map((name): ClaimDefinition<Config> => {
      const tangent = `(${name.split(',').join(', ')})`;
      return {
        id: tangentClaim(where, name),
        claim: `JVP direction ${tangent} instead of (v, 0, 1): far worse one-step samples (${where}).`,
        where: 'Table 1b',
        published: publishedTangents[name],
        how: `the direction is that for (z, r, t); distance with ${tangent} divided by distance with (v, 0, 1), one step, smallest ratio of all repetitions; ${where === 'points' ? onPoints : onImages}`,
        scale: where === 'points' ? pointsScale : imagesScale,
        bound: { atLeast: 3 },
        neutral: 1,
        presets: where === 'points' ? ['full'] : ['full', 'paper'],
      };
    }),
);

/** The claims of the paper, with bounds fixed before anything was measured here. */
export const claims: readonly ClaimDefinition<Config>[] = [
  {
    id: 'gaussian-spread',
    claim: 'One MeanFlow step keeps the spread of the data; one flow matching step loses it.',
    where: 'Sec. 4.1',
    published: 'follows from the MeanFlow identity: for a Gaussian with std 0.5 the exact values are 0.5 and 0',
    how: 'standard deviation of one-step samples, MeanFlow divided by flow matching; the data are a 2-D Gaussian with standard deviation 0.5',
    scale: gaussianScale,
    bound: { atLeast: 1.7 },
    neutral: 1,
    presets: ['smoke', 'start', 'full'],
  },
  {
    id: 'gaussian-mean',
    claim: 'Samples of one MeanFlow step have the mean of the data.',
    where: 'Sec. 4.1',
    published: 'follows from the MeanFlow identity: exactly',
    how: 'distance between the mean of one-step samples and the true mean (0.7, -0.4); the data are a 2-D Gaussian with standard deviation 0.5',
    scale: gaussianScale,
    bound: { atMost: 0.1 },
    presets: ['smoke', 'start', 'full'],
  },
  {
    id: 'points-one-step',
    claim: 'With one sampling step, MeanFlow is far better than flow matching.',
    where: table1,
    published: 'FID 61.06, flow matching 328.91 (5.4 times as high)',
    how: `distance of MeanFlow divided by distance of flow matching, both with one step, mean of the repetitions; ${onPoints}`,
    scale: pointsScale,
    bound: { atMost: 0.2 },
    neutral: 1,
    presets: ['smoke', 'start', 'full'],
  },
  {
    id: 'points-many-steps',
    claim: 'One step of MeanFlow is nearly as good as many steps of flow matching.',
    where: table1,
    published: 'FID 61.06 with 1 step; flow matching (SiT-B/4) has 58.9 with 250 steps',
    how: `distance of MeanFlow with one step divided by distance of flow matching with many steps, mean of the repetitions; ${onPoints}`,
    scale: (config) => `${config.points.manySteps} steps of flow matching; ${pointsScale(config)}`,
    bound: { atMost: 2.5 },
    presets: ['full'],
  },
  {
    id: 'points-more-steps',
    claim: 'With more sampling steps, MeanFlow does not become much worse.',
    where: 'Table 2',
    published: 'FID 2.93 with 2 steps, 3.43 with 1 step (XL/2)',
    how: `distance with four steps divided by distance with one step, mean of the repetitions; ${onPoints}`,
    scale: pointsScale,
    bound: { atMost: 2 },
    presets: ['full'],
  },
  {
    id: 'points-cost',
    claim: 'A training step of MeanFlow takes little more time than one of flow matching.',
    where: 'Sec. 4.1',
    published: '0.052 s, flow matching 0.045 s (1.16 times, on a TPU, r < t in 25 % of the rows)',
    how: ofCost,
    scale: pointsScale,
    bound: { atMost: 2.5 },
    presets: ['full'],
  },
  {
    id: 'images-one-step',
    claim: 'With one sampling step, MeanFlow draws far better images than flow matching.',
    where: table1,
    published: 'FID 61.06, flow matching 328.91 (5.4 times as high)',
    how: `distance of MeanFlow divided by distance of flow matching, both with one step; ${onImages}`,
    scale: imagesScale,
    bound: { atMost: 0.2 },
    neutral: 1,
    presets: ['smoke', 'tour', 'start', 'full', 'mnist', 'paper'],
  },
  {
    id: 'images-many-steps',
    claim: 'One step of MeanFlow draws images about as well as many steps of flow matching.',
    where: table1,
    published: 'FID 61.06 with 1 step; flow matching (SiT-B/4) has 58.9 with 250 steps',
    how: `distance of MeanFlow with one step divided by distance of flow matching with many steps; ${onImages}`,
    scale: (config) => `${config.images.manySteps} steps of flow matching; ${imagesScale(config)}`,
    bound: { atMost: 2.5 },
    presets: ['full', 'mnist', 'paper'],
  },
  {
    id: 'images-class-share',
    claim: 'One-step samples of MeanFlow show the requested class as often as many-step flow matching.',
    where: 'Table 2 (class-conditional ImageNet)',
    published: 'only the FID is published',
    how: 'share of samples that a classifier, trained on the true images, assigns to the requested class; MeanFlow with one step divided by flow matching with many steps',
    scale: (config) => `${config.images.manySteps} steps of flow matching; ${imagesScale(config)}`,
    bound: { atLeast: 0.9 },
    presets: ['tour', 'start', 'full', 'mnist', 'paper'],
  },
  {
    id: 'images-cost',
    claim: 'A training step of MeanFlow takes little more time than one of flow matching (images).',
    where: 'Sec. 4.1',
    published: '0.052 s, flow matching 0.045 s (1.16 times, on a TPU, r < t in 25 % of the rows)',
    how: ofCost,
    scale: imagesScale,
    bound: { atMost: 2.5 },
    presets: ['start', 'full', 'mnist', 'paper'],
  },
  {
    id: 'images-judge',
    claim: 'The classifier that checks the samples recognizes real digits.',
    where: 'a condition for the comparison, not a claim of the paper',
    published: '-',
    how: 'accuracy on the 10,000 test images of MNIST; the classifier has two convolutions and two linear layers, and is trained here',
    scale: ({ images: { classifier } }) => `${classifier.steps} steps of batch ${classifier.batch}`,
    bound: { atLeast: 0.98 },
    presets: ['mnist'],
  },
  {
    id: 'images-guidance',
    claim: 'If guidance is part of the training, one-step samples show the requested class more often.',
    where: 'Table 1f',
    published: 'FID 61.06 without guidance, 20.15 with ω = 2 (the share is not published)',
    how: "share of one-step samples in the requested class at ω' = 2 (the smaller one of κ = 0 and κ = 0.5), minus the share without guidance",
    scale: imagesScale,
    bound: { atLeast: 0 },
    presets: ['full', 'paper'],
  },
  {
    id: 'images-guidance-mixing',
    claim: 'With the same effective guidance scale, the mixing parameter κ changes little.',
    where: 'Table 5',
    published: "FID 20.15 at κ = 0 and 19.15 at κ = 0.5, both at ω' = 2",
    how: "difference between the shares of one-step samples in the requested class for κ = 0 and for κ = 0.5, both at ω' = 2",
    scale: imagesScale,
    bound: { atMost: 0.03 },
    presets: ['full', 'paper'],
  },
  ...tangentClaims,
  outOfReach(
    'imagenet-xl',
    'MeanFlow draws ImageNet 256 x 256 with one step and without distillation.',
    'Table 2',
    'FID 3.43 (XL/2, 240 epochs); with two steps 2.93, and 2.20 after 1000 epochs',
  ),
  outOfReach('imagenet-sizes', 'Larger networks give better samples.', 'Table 2', 'FID 6.17, 5.01, 3.84, 3.43 for B/2, M/2, L/2, XL/2'),
  outOfReach(
    'imagenet-conditioning',
    'The network works best if its inputs are t and t - r.',
    'Table 1c',
    'FID 61.06; with (t, r) 61.75, with (t, r, t - r) 63.98, with only t - r 63.13',
  ),
  outOfReach(
    'imagenet-sampler',
    'Training works best if the times are drawn from logit-normal(-0.4, 1).',
    'Table 1d',
    'FID 61.06; uniform 65.90, other logit-normal distributions 61.79 to 63.83',
  ),
  outOfReach(
    'imagenet-weight',
    'The adaptive weight of the loss works best with the exponent p = 1.',
    'Table 1e',
    'FID 61.06; p = 0: 79.75, p = 0.5: 63.98, p = 1.5: 66.57, p = 2: 69.19',
  ),
  outOfReach(
    'imagenet-share',
    'Training works best if a quarter of the rows have r < t.',
    'Table 1a',
    'FID 61.06; half of the rows 63.14, all rows 67.32',
  ),
  outOfReach(
    'imagenet-guidance',
    'If guidance is part of the training, one-step samples have a better FID.',
    'Tables 1f and 5',
    'FID 61.06 without guidance, 15.53 with ω = 3',
  ),
  {
    id: 'cifar10',
    claim: 'MeanFlow draws CIFAR-10 images (without classes) with one step.',
    where: 'Table 3',
    published: 'FID 2.92 (U-Net of 55 M parameters)',
    how: 'not measured',
    bound: { outOfReach: 'needs 800,000 steps of batch 1024 with a U-Net of 55 M parameters; this would take decades on two cores' },
    presets: [],
  },
];

function outOfReach(id: string, claim: string, where: string, published: string): ClaimDefinition<Config> {
  const reason =
    'needs ImageNet latents, networks of 131 to 676 M parameters and at least 400,000 steps of batch 256; in small runs, a difference of a few per cent is smaller than the noise';
  return { id, claim, where, published, how: 'not measured', bound: { outOfReach: reason }, presets: [] };
}
