import { ddimSampler, ddpmSampler, respace } from '@atelier/diffusion';
import { initSwinDiT } from '@atelier/swin-dit';
import { tf, type Tensor } from '@atelier/tensor';
import { imageFacts } from '../src/data/images.ts';
import type { Drawer, NamedDrawer, SavedRun } from '../src/runner/experiment.ts';
import { savedWeights } from '../src/training/saved-weights.ts';
import type { Config } from './config.ts';
import { fieldModels, imageModels, type Model } from './models.ts';
import { samplerNetwork, type Sampling } from './sampling.ts';
import { tables } from './training.ts';

/** Every network, those of images first, and PSWA before the others. */
export function drawers(run: SavedRun<Config>): NamedDrawer[] {
  const { parts, images, fields } = run.config;
  const pswaFirst = (models: Model[]): Model[] => [...models].sort((a, b) => Number(b.name === 'pswa') - Number(a.name === 'pswa'));
  const found: NamedDrawer[] = [];
  if (parts.includes('images')) {
    const facts = imageFacts(images);
    const { height, width, channels, classNames } = facts;
    const own = { data: `${facts.name} of ${height} x ${width} pixels`, shape: [height, width, channels], classNames };
    const sampling = { sampler: images.sampler, steps: images.samplingSteps, guidance: images.guidance, clip: true };
    for (const model of pswaFirst(imageModels(images, facts))) found.push(named(run, `image-${model.name}`, model, sampling, own));
  }
  if (parts.includes('fields')) {
    const side = fields.grid * fields.patchSize;
    const own = {
      data: `Gaussian random fields of ${side} x ${side} pixels`,
      shape: [side, side, 1],
      classNames: [],
      range: [-2.5, 2.5],
    } as const;
    const sampling = { sampler: 'ddim', steps: fields.samplingSteps, guidance: 1, clip: false } as const;
    const ending = fields.repeats > 1 ? '-1' : '';
    for (const model of pswaFirst(fieldModels(fields))) found.push(named(run, `field-${model.name}${ending}`, model, sampling, own));
  }
  return found;
}

function named(
  { checkpoints, rng }: SavedRun<Config>,
  name: string,
  model: Model,
  { sampler: kind, steps: usual, guidance, clip }: Pick<Sampling, 'sampler' | 'steps' | 'guidance' | 'clip'>,
  facts: Pick<Drawer, 'data' | 'shape' | 'classNames' | 'range'>,
): NamedDrawer {
  return {
    name,
    async open() {
      const weights = await savedWeights(checkpoints, name, () => initSwinDiT(rng, model.settings));
      const { network, variance } = samplerNetwork(model, guidance);
      const options = { variance, clip };
      const sampler = kind === 'ddim' ? ddimSampler(network, options) : ddpmSampler(network, options);
      const guided = guidance === 1 ? '' : ` with guidance ${guidance}`;
      return {
        ...facts,
        weights,
        method: `${kind.toUpperCase()} by ${model.label}${guided}; a step is one evaluation of the network`,
        steps: usual,
        noise: (n, steps) => ({
          z: { shape: [n, ...facts.shape], law: 'normal' },
          ...(kind === 'ddpm' && steps > 1 && { noise: { shape: [steps - 1, n, ...facts.shape], law: 'normal' } }),
        }),
        draw({ z, y, noise }, steps) {
          const labels: Tensor = y ?? tf.zeros([z!.shape[0]!], 'int32');
          const drawn = noise && tf.unstack(noise);
          return sampler.sample({ params: weights, y: labels }, z!, {
            tables: respace(tables, steps),
            ...(drawn && { noise: (i) => drawn[i]! }),
          });
        },
      };
    },
  };
}
