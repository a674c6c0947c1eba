import type { ClaimDefinition } from '../src/runner/experiment.ts';
import type { Config, Points, TangentName } from './config.ts';

const networks = 'same network, initial weights, batches, steps and averaged weights for both';
const onPoints = `energy distance of samples from the 4 x 4 checkerboard; ${networks}`;
const onImages = `Fréchet distance in 96 fixed random features; ${networks}`;
const ofCost =
  'ratio of the median times of a step; the JVP is computed only for the rows with r < t, so about 1 + their share is expected';

const pointsText = ({ samples, width, depth, training: { steps, p } }: Points): string =>
  `${samples} samples, MLP ${depth} x ${width}, ${steps} steps, p = ${p}`;
const gaussianScale = ({ gaussian }: Config): string => pointsText(gaussian);
const pointsScale = ({ points }: Config): string => pointsText(points);
const imagesScale = ({ images: { data, samples, network, training } }: Config): string =>
  `${samples} images of ${data}, DiT of ${network.depth} layers of width ${network.width}, ${training.steps} steps of batch ${training.batch}, p = ${training.p}`;

const table1 = 'Table 1 (ablations, B/4, 80 epochs)';

/** FID-50K of one-step samples of MeanFlow-B/4 with each wrong direction of the JVP (table 1b); (0, 0, 1) is our own control. */
const publishedTangents: Record<TangentName, string> = {
  'v,0,0': 'FID 268.06 against 61.06 with (v, 0, 1)',
  'v,1,0': 'FID 329.22 against 61.06 with (v, 0, 1)',
  'v,1,1': 'FID 137.96 against 61.06 with (v, 0, 1)',
  '0,0,1': 'not published: a control of our own',
};

export const tangentClaim = (where: 'points' | 'images', name: TangentName): string => `${where}-tangent-${name.replaceAll(',', '')}`;

const tangentClaims = (['points', 'images'] as const).flatMap((where) =>
  (Object.keys(publishedTangents) as TangentName[])
    .filter((name) => where === 'points' || name !== '0,0,1')
    .map((name): ClaimDefinition<Config> => {
      const tangent = `(${name.split(',').join(', ')})`;
      return {
        id: tangentClaim(where, name),
        claim: `The tangent ${tangent} of (z, r, t) in place of (v, 0, 1) ruins one-step samples.`,
        where: 'Table 1b',
        published: publishedTangents[name],
        how: `ratio of the distance with ${tangent} to the one with (v, 0, 1), one step; the least of the repetitions; ${where === 'points' ? onPoints : onImages}`,
        scale: where === 'points' ? pointsScale : imagesScale,
        bound: { atLeast: 3 },
        presets: where === 'points' ? ['full'] : ['full', 'paper'],
      };
    }),
);

/** The claims of the paper, with bounds fixed before anything was measured here. */
export const claims: readonly ClaimDefinition<Config>[] = [
  {
    id: 'gaussian-spread',
    claim: 'One step of MeanFlow keeps the spread of the data, one step of flow matching collapses to its mean.',
    where: 'Sec. 4.1',
    published: 'implied by the identity: for a Gaussian of std 0.5 the exact answers are 0.5 and 0',
    how: 'std of one-step samples, MeanFlow over flow matching; 2-D Gaussian of std 0.5',
    scale: gaussianScale,
    bound: { atLeast: 1.7 },
    presets: ['smoke', 'start', 'full'],
  },
  {
    id: 'gaussian-mean',
    claim: 'One step of MeanFlow lands on the mean of the data.',
    where: 'Sec. 4.1',
    published: 'implied by the identity: exact',
    how: 'distance of the mean of one-step samples from (0.7, -0.4); 2-D Gaussian of std 0.5',
    scale: gaussianScale,
    bound: { atMost: 0.1 },
    presets: ['smoke', 'start', 'full'],
  },
  {
    id: 'points-one-step',
    claim: 'In one step MeanFlow is far better than flow matching.',
    where: table1,
    published: 'FID 61.06 against 328.91 (5.4 times)',
    how: `ratio MeanFlow to flow matching, one step each, mean of the repetitions; ${onPoints}`,
    scale: pointsScale,
    bound: { atMost: 0.2 },
    presets: ['smoke', 'start', 'full'],
  },
  {
    id: 'points-many-steps',
    claim: 'One step of MeanFlow comes close to many steps of flow matching.',
    where: table1,
    published: 'FID 61.06 in 1 step against 58.9 of SiT-B/4 in 250 steps',
    how: `ratio MeanFlow in one step to flow matching in many, mean of the repetitions; ${onPoints}`,
    scale: (config) => `${config.points.manySteps} steps of flow matching; ${pointsScale(config)}`,
    bound: { atMost: 2.5 },
    presets: ['full'],
  },
  {
    id: 'points-more-steps',
    claim: 'More steps do not make MeanFlow collapse.',
    where: 'Table 2',
    published: 'FID 2.93 in 2 steps, 3.43 in 1 (XL/2)',
    how: `ratio of four steps to one, mean of the repetitions; ${onPoints}`,
    scale: pointsScale,
    bound: { atMost: 2 },
    presets: ['full'],
  },
  {
    id: 'points-cost',
    claim: 'A training step of MeanFlow costs little more than one of flow matching.',
    where: 'Sec. 4.1',
    published: '0.052 s against 0.045 s (1.16 times, TPU, r < t in 25 % of the rows)',
    how: ofCost,
    scale: pointsScale,
    bound: { atMost: 2.5 },
    presets: ['full'],
  },
  {
    id: 'images-one-step',
    claim: 'In one step MeanFlow draws images far better than flow matching.',
    where: table1,
    published: 'FID 61.06 against 328.91 (5.4 times)',
    how: `ratio MeanFlow to flow matching, one step each; ${onImages}`,
    scale: imagesScale,
    bound: { atMost: 0.2 },
    presets: ['smoke', 'start', 'full', 'mnist', 'paper'],
  },
  {
    id: 'images-many-steps',
    claim: 'One step of MeanFlow draws images about as well as many steps of flow matching.',
    where: table1,
    published: 'FID 61.06 in 1 step against 58.9 of SiT-B/4 in 250 steps',
    how: `ratio MeanFlow in one step to flow matching in many; ${onImages}`,
    scale: (config) => `${config.images.manySteps} steps of flow matching; ${imagesScale(config)}`,
    bound: { atMost: 2.5 },
    presets: ['full', 'mnist', 'paper'],
  },
  {
    id: 'images-class-share',
    claim: 'One-step samples of MeanFlow show the class they were asked for as well as flow matching in many steps does.',
    where: 'Table 2 (class-conditional ImageNet)',
    published: 'FID alone is published',
    how: 'share of samples that a classifier trained on the true images puts into their class, MeanFlow in one step over flow matching in many',
    scale: (config) => `${config.images.manySteps} steps of flow matching; ${imagesScale(config)}`,
    bound: { atLeast: 0.9 },
    presets: ['start', 'full', 'mnist', 'paper'],
  },
  {
    id: 'images-cost',
    claim: 'A training step of MeanFlow costs little more than one of flow matching (images).',
    where: 'Sec. 4.1',
    published: '0.052 s against 0.045 s (1.16 times, TPU, r < t in 25 % of the rows)',
    how: ofCost,
    scale: imagesScale,
    bound: { atMost: 2.5 },
    presets: ['start', 'full', 'mnist', 'paper'],
  },
  {
    id: 'images-judge',
    claim: 'The classifier that judges the samples knows real digits.',
    where: 'condition of the comparison, not of the paper',
    published: '-',
    how: 'accuracy on the 10,000 test images of MNIST; two convolutions and two linear layers, trained here',
    scale: ({ images: { classifier } }) => `${classifier.steps} steps of batch ${classifier.batch}`,
    bound: { atLeast: 0.98 },
    presets: ['mnist'],
  },
  {
    id: 'images-guidance',
    claim: 'Guidance inside training makes one-step samples show their class more surely.',
    where: 'Table 1f',
    published: 'FID 61.06 without, 20.15 at ω = 2 (class consistency is not published)',
    how: "share of one-step samples in their class at ω' = 2, the lesser of κ = 0 and κ = 0.5, less the share without guidance",
    scale: imagesScale,
    bound: { atLeast: 0 },
    presets: ['full', 'paper'],
  },
  {
    id: 'images-guidance-mixing',
    claim: 'At equal effective scale the mixing κ changes little.',
    where: 'Table 5',
    published: "FID 20.15 at κ = 0 and 19.15 at κ = 0.5, both at ω' = 2",
    how: "difference of the shares of one-step samples in their class between κ = 0 and κ = 0.5 at ω' = 2",
    scale: imagesScale,
    bound: { atMost: 0.03 },
    presets: ['full', 'paper'],
  },
  ...tangentClaims,
  outOfReach(
    'imagenet-xl',
    'ImageNet 256 x 256 in one step without distillation.',
    'Table 2',
    'FID 3.43 (XL/2, 240 epochs), 2.93 in two steps, 2.20 at 1000 epochs',
  ),
  outOfReach(
    'imagenet-sizes',
    'Quality grows with the size of the network.',
    'Table 2',
    'FID 6.17, 5.01, 3.84, 3.43 for B/2, M/2, L/2, XL/2',
  ),
  outOfReach(
    'imagenet-conditioning',
    'The network should be given (t, t - r).',
    'Table 1c',
    'FID 61.06; (t, r) 61.75, (t, r, t - r) 63.98, t - r alone 63.13',
  ),
  outOfReach(
    'imagenet-sampler',
    'Times should be logit-normal(-0.4, 1).',
    'Table 1d',
    'FID 61.06; uniform 65.90, other logit-normals 61.79 to 63.83',
  ),
  outOfReach(
    'imagenet-weight',
    'The adaptive weight works best with p = 1.',
    'Table 1e',
    'FID 61.06; p = 0 79.75, 0.5 63.98, 1.5 66.57, 2 69.19',
  ),
  outOfReach('imagenet-share', 'r < t in a quarter of the rows is best.', 'Table 1a', 'FID 61.06; half 63.14, all 67.32'),
  outOfReach(
    'imagenet-guidance',
    'Guidance inside training improves the FID of one-step samples.',
    'Tables 1f and 5',
    'FID 61.06, with guidance 15.53 (ω = 3)',
  ),
  {
    id: 'cifar10',
    claim: 'CIFAR-10 without classes in one step.',
    where: 'Table 3',
    published: 'FID 2.92 (U-Net of 55 M parameters)',
    how: 'not measured',
    bound: { outOfReach: '800,000 steps of batch 1024 through a U-Net of 55 M parameters; two cores would need decades' },
    presets: [],
  },
];

function outOfReach(id: string, claim: string, where: string, published: string): ClaimDefinition<Config> {
  const reason =
    'needs ImageNet latents, networks of 131 to 676 M parameters and 400,000 steps or more of batch 256; differences of a few per cent also drown in the noise of small runs';
  return { id, claim, where, published, how: 'not measured', bound: { outOfReach: reason }, presets: [] };
}
