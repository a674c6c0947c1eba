import { karrasSigmas } from '@atelier/diffusion';
import { epsilonParameterization, sidSampler } from '@atelier/sid';
import { tf, type Tree } from '@atelier/tensor';
import { imageFacts } from '../src/data/images.ts';
import type { Drawer, NamedDrawer, SavedRun } from '../src/runner/experiment.ts';
import { savedWeights } from '../src/training/saved-weights.ts';
import type { Config } from './config.ts';
import { labelsOf, type Networks } from './distill.ts';
import { imageNetworks, variantsOf as imageVariants } from './images.ts';
import { pointNetworks, variantsOf as pointVariants } from './points.ts';

type Facts = Pick<Drawer, 'data' | 'classNames'>;
/** A network that was trained: a student with its number of steps, or a teacher with the levels of its sampler. */
type Kind = { steps: number; student: true } | { steps: number; student: false; levels(steps: number): readonly number[] };

/** Students with the most steps first, then the teachers; images before points. */
export function drawers(run: SavedRun<Config>): NamedDrawer[] {
  const { parts, images, points, guidance } = run.config;
  const bySteps = <V extends { steps: number }>(variants: readonly V[]): V[] => [...variants].sort((a, b) => b.steps - a.steps);
  const found: NamedDrawer[] = [];
  if (parts.includes('images')) {
    const set = imageFacts(images);
    const { networks } = imageNetworks(images, set);
    const facts = { data: `${set.name} of ${set.height} x ${set.width} pixels`, classNames: set.classNames };
    for (const { name, steps } of bySteps(imageVariants(images)))
      found.push(named(run, `image-${name}`, networks, facts, { steps, student: true }));
    const levels = (steps: number): number[] => karrasSigmas(steps).slice(0, -1);
    found.push(named(run, 'image-teacher', networks, facts, { steps: images.teacherSteps, student: false, levels }));
  }
  const levels = (steps: number): readonly number[] => epsilonParameterization({ start: 999 }).levels(steps);
  if (parts.includes('points')) {
    const networks = pointNetworks(points, 0);
    const ending = points.repeats > 1 ? '-1' : '';
    for (const density of points.densities) {
      const facts = { data: `points of the density ${density}`, classNames: [] };
      for (const { name, steps } of bySteps(pointVariants(points, density)))
        found.push(named(run, `${density}-${name}${ending}`, networks, facts, { steps, student: true }));
      found.push(named(run, `${density}-teacher${ending}`, networks, facts, { steps: points.teacherSteps, student: false, levels }));
    }
  }
  if (parts.includes('guidance')) {
    const networks = pointNetworks(guidance, 2);
    const ending = guidance.repeats > 1 ? '-1' : '';
    const facts = { data: 'points of a ring of eight modes, whose classes alternate', classNames: ['even', 'odd'] };
    for (const name of guidance.variants) found.push(named(run, `guidance-${name}${ending}`, networks, facts, { steps: 1, student: true }));
  }
  return found;
}

function named<P extends Tree>(
  { checkpoints, rng }: SavedRun<Config>,
  name: string,
  { init, network, parameterization, shape, classes }: Networks<P>,
  facts: Facts,
  kind: Kind,
): NamedDrawer {
  return {
    name,
    async open(): Promise<Drawer> {
      const weights = await savedWeights(checkpoints, name, () => init(rng), kind.student ? ['state.generator.average'] : undefined);
      const sampler = sidSampler(network, { parameterization, noise: kind.student ? 'fresh' : 'ddim' });
      const levelsOf = kind.student ? (steps: number) => parameterization.levels(steps) : kind.levels;
      return {
        ...facts,
        shape,
        weights,
        method: `${kind.student ? 'the chain of a distilled generator' : "the teacher's deterministic sampler"}; a step is one evaluation of the network`,
        steps: kind.steps,
        noise: (n, steps) => ({
          z: { shape: [n, ...shape], law: 'normal' },
          ...(kind.student && steps > 1 && { noise: { shape: [steps - 1, n, ...shape], law: 'normal' } }),
        }),
        draw({ z, y, noise }, steps) {
          const fresh = noise && tf.unstack(noise);
          const condition = labelsOf(y, classes);
          const options = {
            levels: levelsOf(steps),
            ...(condition && { condition }),
            ...(fresh && { noise: (i: number) => fresh[i - 1]! }),
          };
          return sampler.sample(weights, z!, options);
        },
      };
    },
  };
}
