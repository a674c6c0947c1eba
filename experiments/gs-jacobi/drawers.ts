import { prepareBlock, tarflowMap } from '@atelier/gs-jacobi';
import { denoise, initTarFlow, permute, reverseBlock, tokenSizes, unpatchify, type TarFlow, type TarFlowConfig } from '@atelier/tarflow';
import { tf, type Tensor, type Tree } from '@atelier/tensor';
import { streamFacts } from '../src/data/image-stream.ts';
import type { NamedDrawer, SavedRun } from '../src/runner/experiment.ts';
import { savedWeights } from '../src/training/saved-weights.ts';
import type { Config } from './config.ts';
import { networkConfig, storedModel } from './model.ts';

/** The TarFlow of the run, sampled by a fixed number of iterations. */
export function drawers({ config, rng, checkpoints }: SavedRun<Config>): NamedDrawer[] {
  const facts = streamFacts(config.data, config.side);
  const settings = networkConfig(config, facts);
  const { T, D } = tokenSizes(settings);
  const open = async (): Promise<TarFlow> => {
    if (config.weights === 'stored') return storedModel(settings);
    const { var: prior, ...initial } = initTarFlow(rng.child('init'), settings);
    tf.dispose(initial as never);
    const params = await savedWeights(checkpoints, 'tarflow', () => {
      const { var: unused, ...structure } = initTarFlow(rng.child('init'), settings);
      unused.dispose();
      return structure;
    });
    return { ...params, var: prior };
  };
  return [
    {
      name: 'tarflow',
      async open() {
        const model = await open();
        return {
          method: `Jacobi iterations of every block, then one step of denoising; a step is one iteration of all tokens, and ${T - 1} steps are exact`,
          data: `${facts.name} of ${facts.side} x ${facts.side} pixels`,
          shape: [facts.side, facts.side, facts.channels],
          classNames: facts.classNames,
          steps: T - 1,
          weights: model as unknown as Tree,
          noise: (n) => ({ z: { shape: [n, T, D], law: 'normal' } }),
          draw({ z, y }, steps) {
            const noisy = unpatchify(invert(model, z!, y!, settings, steps), settings);
            return denoise(model, noisy, settings, { sigma: config.training.sigma, y: y! });
          },
        };
      },
    },
  ];
}

/** Noise [B, T, D] to tokens, block by block, by so many Jacobi iterations of each; T - 1 are as exact as token by token, which is cheaper. */
function invert(model: TarFlow, noise: Tensor, y: Tensor, config: TarFlowConfig, steps: number): Tensor {
  const [B, T, D] = noise.shape as [number, number, number];
  const { next } = tarflowMap(config);
  let before: Tensor = tf.mul(noise, tf.sqrt(model.var));
  for (let k = config.blocks - 1; k >= 0; k--) {
    const params = model.blocks[k]!;
    const { z, guess, inputs } = prepareBlock(k, 'z', { params, y, z: before });
    let x = guess;
    if (steps >= T - 1) x = reverseBlock(params, z, config, { context: inputs.context });
    else {
      const first = tf.slice(z, [0, 0, 0], [B, 1, D]);
      for (let i = 0; i < steps; i++) {
        const made = next({ params, x, inputs }).next;
        x = tf.concat([first, tf.slice(made, [0, 0, 0], [B, T - 1, D])], 1);
      }
    }
    before = permute(x, k);
  }
  return before;
}
