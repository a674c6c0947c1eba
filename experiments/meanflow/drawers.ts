import { integrateVelocity, uniformGrid } from '@atelier/diffusion';
import { initPointNetwork, instantaneousVelocity, pointNetwork, sampleMeanFlow, type AverageVelocity } from '@atelier/meanflow';
import type { Tree } from '@atelier/tensor';
import { imageFacts } from '../src/data/images.ts';
import type { Drawer, NamedDrawer, SavedRun } from '../src/runner/experiment.ts';
import { savedWeights } from '../src/training/saved-weights.ts';
import type { Config } from './config.ts';
import { imageNetwork } from './networks.ts';
import type { Network } from './training.ts';

/** Steps of flow matching, if none are asked for. */
const MANY = 32;

type Method = 'meanflow' | 'flow-matching';
const methods = ['meanflow', 'flow-matching'] as const;

/** MeanFlow and flow matching of every part, the images first. */
export function drawers(run: SavedRun<Config>): NamedDrawer[] {
  const { parts, images } = run.config;
  const ofImages = parts.includes('images')
    ? methods.map((method): NamedDrawer => {
        const facts = imageFacts(images);
        const { height, width, channels, classNames } = facts;
        const data = `${facts.name} of ${height} x ${width} pixels`;
        return named(run, method, method, imageNetwork(images, facts), { data, shape: [height, width, channels], classNames });
      })
    : [];
  const ofPoints = (['checkerboard', 'ring', 'gaussian'] as const)
    .filter((part) => parts.includes(part))
    .flatMap((part) => {
      const { width, depth, repeats } = part === 'gaussian' ? run.config.gaussian : run.config.points;
      const network: Network<Tree> = {
        init: (rng) => initPointNetwork(rng, { dimension: 2, width, depth }),
        apply: (params) => pointNetwork(params as never),
      };
      const ending = repeats > 1 && part !== 'ring' ? '-1' : '';
      return methods.map((method) =>
        named(run, `${part}-${method}${ending}`, method, network, { data: `points of the ${part}`, shape: [2], classNames: [] }),
      );
    });
  return [...ofImages, ...ofPoints];
}

function named<P extends Tree>(
  { checkpoints, rng }: SavedRun<Config>,
  name: string,
  method: Method,
  { init, apply }: Network<P>,
  facts: Pick<Drawer, 'data' | 'shape' | 'classNames'>,
): NamedDrawer {
  return {
    name,
    async open(): Promise<Drawer> {
      const weights = await savedWeights(checkpoints, name, () => init(rng));
      const network: AverageVelocity = apply(weights);
      return {
        ...facts,
        weights,
        ...(method === 'meanflow'
          ? { method: 'jumps of the average velocity; a step is one evaluation of the network', steps: 1 }
          : { method: 'Euler steps of the velocity; a step is one evaluation of the network', steps: MANY }),
        noise: (n) => ({ z: { shape: [n, ...facts.shape], law: 'normal' } }),
        draw({ z, y }, steps) {
          const options = { grid: uniformGrid(steps), ...(y && { y }) };
          return method === 'meanflow'
            ? sampleMeanFlow(network, z!, options)
            : integrateVelocity(instantaneousVelocity(network), z!, options);
        },
      };
    },
  };
}
