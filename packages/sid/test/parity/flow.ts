import { tf, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import {
  fakeScoreLoss,
  fewStepChain,
  flowParameterization,
  generatorLoss,
  type ChainNoise,
  type GeneratorLossOptions,
  type Weighting,
} from '../../src/index.ts';
import { namesBetween, stackOf } from './stable-diffusion.ts';
import { check, checkTree, epsilonMlp, gradients, image, number, textOf, treeOf, values, type Mlp } from './tensors.ts';

const network = epsilonMlp(1);

/** Weightings by their names in apple/ml-sid-dit. */
const weightings: Record<string, Weighting> = {
  sid_legacy: 'teacher-error',
  '1_minus_sigma': '1-t',
  '1_minus_sigma_squared': '(1-t)^2',
  '1_over_sigma': '1/t',
  '1_over_sigma2': '1/t^2',
  snr_sqrt: 'snr^1/2',
  snr: 'snr',
};

/** Chains with all kinds of noise, both losses, and all weightings, in the parameterization of flow matching. */
export function flowFewStep(file: GoldenFile): number {
  const parameterization = flowParameterization({ start: number(file, 'init_timestep') });
  const levels = parameterization.levels(number(file, 'K'));
  const condition = textOf(file);
  const noises = stackOf(file, 'in.noise_chain');
  const generator = treeOf<Mlp>(file, 'gen.');
  let cases = 0;
  const chainOf = (p: Mlp, noise: ChainNoise, k: number) =>
    fewStepChain(network(p), noise === 'fresh' ? noises.slice(0, k) : [noises[0]!], { parameterization, levels, noise, condition }, k);
  for (const noise of ['fresh', 'fixed', 'ddim'] as const)
    for (const k of namesBetween(file, `out.${noise}.k`, '.x')) {
      check(file, `out.${noise}.k${k}.x`, chainOf(generator, noise, Number(k)).outputs.at(-1)!);
      cases++;
    }

  const [e, t] = [image(file, 'in.noise'), file.tensor('in.sigma')];
  const nets = { teacher: network(treeOf<Mlp>(file, 'teacher.')), fake: network(treeOf<Mlp>(file, 'fake.')) };
  const [, scale] = /kappa4=([-\d.]+)/.exec(file.metadata['gen_loss']!)!;
  const guidance = { fit: Number(scale), fake: Number(scale), teacher: Number(scale) };
  const options: GeneratorLossOptions = { parameterization, guidance, weighting: '1-t', scale: 100 };
  const lossOf = (x: Tensor, more: Partial<GeneratorLossOptions> = {}) =>
    generatorLoss(nets, { x, e, t, condition }, { ...options, ...more });
  for (const k of namesBetween(file, 'out.gen.k', '.loss')) {
    const { aux, grads } = valueAndGrad((p: Mlp) => {
      const x = chainOf(p, 'fresh', Number(k)).outputs.at(-1)!;
      const { loss } = lossOf(x);
      return { loss, aux: { loss, x } };
    }, generator);
    check(file, `out.gen.k${k}.loss`, aux.loss);
    const inImage = valueAndGrad(({ x }: { x: Tensor }) => ({ loss: lossOf(x).loss, aux: {} }), { x: aux.x }).grads.x;
    check(file, `out.gen.k${k}.grad_images`, inImage, gradients);
    checkTree(file, `grad.gen.k${k}.gen.`, grads);
    cases++;
  }
  const x = chainOf(generator, 'fresh', levels.length).outputs.at(-1)!;
  const alphas = [...new Set(file.keys('out.loss_a').map((key) => /^out\.loss_a([\d.]+)\./.exec(key)![1]!))];
  for (const alpha of alphas)
    for (const name of namesBetween(file, `out.loss_a${alpha}.`, '')) {
      const { weight, perElement } = lossOf(x, { weighting: weightings[name]!, alpha: Number(alpha) });
      const key = `out.loss_a${alpha}.${name}`;
      expectClose(weight, file.host(`out.weight.${name}`), values, `out.weight.${name}`);
      expectClose(tf.sum(tf.reshape(perElement, [t.shape[0]!, -1]), 1), file.host(key), values, key);
      cases++;
    }
  for (const kappa of namesBetween(file, 'out.fake.k', '.loss')) {
    const { loss, grads } = valueAndGrad(
      (p: Mlp) => ({ loss: fakeScoreLoss(network(p), { x, e, t, condition }, { parameterization, kappa: Number(kappa) }).loss, aux: {} }),
      treeOf<Mlp>(file, 'fake.'),
    );
    check(file, `out.fake.k${kappa}.loss`, loss);
    checkTree(file, `grad.fake.k${kappa}.fake.`, grads);
    cases++;
  }
  return cases;
}
