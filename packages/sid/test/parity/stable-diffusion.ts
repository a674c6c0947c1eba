import { tf, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import {
  addNoise,
  discreteLevels,
  dropCondition,
  epsilonParameterization,
  fakeScoreLoss,
  fewStepChain,
  generatorLoss,
  guidedDenoised,
  guidedOutput,
  stableDiffusionTables,
  velocityParameterization,
  type GeneratorLossOptions,
} from '../../src/index.ts';
import { check, checkTree, epsilonMlp, gradients, image, number, textOf, treeOf, type Mlp } from './tensors.ts';

const network = epsilonMlp(1000);
const epsilon = epsilonParameterization();

/** What stands between two texts in the keys of a file, once each. */
export function namesBetween(file: GoldenFile, start: string, end: string): string[] {
  const names = file.keys(start).flatMap((key) => (key.endsWith(end) ? [key.slice(start.length, key.length - end.length)] : []));
  if (names.length === 0) throw new Error(`${file.name}: wanted keys like '${start}…${end}', got none`);
  return [...new Set(names)];
}

/** ᾱ, a, s and the times of every chain. */
export function sdSchedule(file: GoldenFile): number {
  expectClose(stableDiffusionTables().alphaBar, file.host('out.alphas_cumprod').data, { rel: 1e-5 }, 'out.alphas_cumprod');
  const { signal, noise } = epsilon.path(file.tensor('in.t'));
  expectClose(signal, file.host('out.a_t'), { rel: 1e-5 }, 'out.a_t');
  expectClose(noise, file.host('out.sigma_t'), { max: 1e-5 }, 'out.sigma_t');
  const chains = file.keys('out.tau_');
  for (const key of chains) {
    const [, start, steps] = /^out\.tau_(\d+)_K(\d+)$/.exec(key)!;
    expectClose(discreteLevels(Number(steps), Number(start)), file.host(key).data, {}, key);
  }
  return chains.length;
}

/** Clean image and ε̂ under every scale of guidance. */
export function sdGuidance(file: GoldenFile): number {
  const p = treeOf<Mlp>(file, 'net.');
  const t = file.tensor('in.t');
  const x = addNoise(epsilon, image(file, 'in.x0'), image(file, 'in.noise'), t);
  const at = { x, t, condition: textOf(file) };
  const scales = namesBetween(file, 'out.x0_k', '');
  for (const scale of scales) {
    check(file, `out.x0_k${scale}`, guidedDenoised(network(p), epsilon, at, Number(scale), 'test'));
    check(file, `out.eps_k${scale}`, guidedOutput(network(p), epsilon, at, Number(scale), 'test'));
  }
  return scales.length;
}

/** The fake score's loss in both parameterizations, with a dropped caption. */
export function sdFake(file: GoldenFile): number {
  const x = image(file, 'in.images');
  const condition = dropCondition(textOf(file), tf.cast(file.tensor('in.dropped'), 'bool'), x);
  let cases = 0;
  for (const [name, parameterization] of [
    ['epsilon', epsilon],
    ['v_prediction', velocityParameterization()],
  ] as const) {
    if (!file.hasAny(`out.${name}.`)) continue;
    for (const scale of namesBetween(file, `out.${name}.k`, '.loss')) {
      const batch = { x, e: image(file, 'in.noise'), t: file.tensor('in.t'), condition };
      const { loss, grads } = valueAndGrad(
        (p: Mlp) => ({ loss: fakeScoreLoss(network(p), batch, { parameterization, kappa: Number(scale) }).loss, aux: {} }),
        treeOf<Mlp>(file, 'fake.'),
      );
      check(file, `out.${name}.k${scale}.loss`, loss);
      checkTree(file, `grad.${name}.k${scale}.fake.`, grads);
      cases++;
    }
  }
  return cases;
}

type Nets = { teacher: Mlp; fake: Mlp; generator: Mlp };
const netsOf = (file: GoldenFile): Nets => ({
  teacher: treeOf<Mlp>(file, 'teacher.'),
  fake: treeOf<Mlp>(file, 'fake.'),
  generator: treeOf<Mlp>(file, 'gen.'),
});

/** The generator's loss at the k-th output of a chain, its parts, and its gradients in that output and in the parameters. */
function matching(file: GoldenFile, nets: Nets, options: GeneratorLossOptions, noises: Tensor[], levels: readonly number[]) {
  const condition = textOf(file);
  const lossOf = (x: Tensor) =>
    generatorLoss(
      { teacher: network(nets.teacher), fake: network(nets.fake) },
      { x, e: image(file, 'in.noise'), t: file.tensor('in.t'), condition },
      options,
    );
  const { aux, grads } = valueAndGrad((p: Mlp) => {
    const chain = fewStepChain(network(p), noises, { parameterization: epsilon, levels, condition }, noises.length);
    const x = chain.outputs.at(-1)!;
    const { loss, perElement, teacher, fake, weight } = lossOf(x);
    return { loss, aux: { x, loss, perElement, teacher, fake, weight } };
  }, nets.generator);
  const inImage = valueAndGrad(({ x }: { x: Tensor }) => ({ loss: lossOf(x).loss, aux: {} }), { x: aux.x }).grads.x;
  return { ...aux, grads, inImage };
}

/** Every combination of α and the four scales. */
export function sdGenerator(file: GoldenFile): number {
  const combos = file.metadata['combos']!.split(';').map((text) => text.trim());
  const nets = netsOf(file);
  const levels = discreteLevels(1, number(file, 't_init'));
  for (const text of combos) {
    const [, name, rest] = /^(\w+):\s*(.*)$/.exec(text)!;
    const read = (key: string): number => Number(new RegExp(`${key}=([-\\d.]+)`).exec(rest!)![1]);
    const guidance = { fit: read('kappa1'), fake: read('kappa3'), teacher: read('kappa4') };
    const options = { parameterization: epsilon, guidance, alpha: read('alpha'), allowUnstableAlpha: true };
    const out = matching(file, nets, options, [image(file, 'in.z')], levels);
    check(file, 'out.images', out.x);
    check(file, `out.${name}.y_real`, out.teacher);
    check(file, `out.${name}.y_fake`, out.fake);
    check(file, `out.${name}.weight_factor`, tf.reciprocal(out.weight));
    check(file, `out.${name}.loss_elem`, out.perElement);
    check(file, `out.${name}.loss`, out.loss);
    check(file, `out.${name}.grad_images`, out.inImage, gradients);
    checkTree(file, `grad.${name}.gen.`, out.grads);
  }
  return combos.length;
}

/** A stack [n, B, C, H, W] of noise as n images. */
export const stackOf = (file: GoldenFile, key: string): Tensor[] =>
  tf.unstack(file.tensor(key)).map((noise) => tf.transpose(noise, [0, 2, 3, 1]));

/** Chains of K steps with a gradient through all of them. */
export function sdRollout(file: GoldenFile): number {
  const names = namesBetween(file, 'out.K', '.x');
  const p = treeOf<Mlp>(file, 'gen.');
  for (const K of names) {
    const levels = discreteLevels(Number(K), number(file, 't_init'));
    expectClose(levels, file.host(`out.K${K}.tau`).data, {}, `out.K${K}.tau`);
    const noises = stackOf(file, `in.K${K}.noise`);
    const condition = textOf(file);
    const { aux, grads } = valueAndGrad((params: Mlp) => {
      const chain = fewStepChain(network(params), noises, { parameterization: epsilon, levels, condition, gradient: 'whole' });
      const x = chain.outputs.at(-1)!;
      const loss = tf.mul(tf.sum(tf.square(x)), 0.5 / x.shape[0]!);
      return { loss, aux: { x, loss, inputs: chain.inputs } };
    }, p);
    check(file, `out.K${K}.x`, aux.x);
    check(file, `out.K${K}.loss_bptt`, aux.loss);
    const stacked = (images: Tensor[]): Tensor => tf.stack(images.map((picture) => tf.transpose(picture, [0, 3, 1, 2])));
    check(file, `out.K${K}.net_in`, stacked(aux.inputs));
    const times = levels.map((level) => tf.fill([aux.x.shape[0]!], level));
    check(file, `out.K${K}.eps`, stacked(aux.inputs.map((y, i) => network(p)(y, times[i]!, condition.given))));
    checkTree(file, `grad_bptt.K${K}.gen.`, grads);
  }
  return names.length;
}

/** The uniform mixture: the loss and gradient at each k, the gradient through the k-th call alone. */
export function sdMixture(file: GoldenFile): number {
  const names = namesBetween(file, 'out.k', '.x');
  const nets = netsOf(file);
  const levels = discreteLevels(number(file, 'K'), number(file, 't_init'));
  const guidance = { fit: 1, fake: 1, teacher: 1 };
  const options = { parameterization: epsilon, guidance, alpha: number(file, 'alpha') };
  for (const k of names) {
    const out = matching(file, nets, options, stackOf(file, 'in.noise_chain').slice(0, Number(k)), levels);
    check(file, `out.k${k}.x`, out.x);
    check(file, `out.k${k}.loss`, out.loss);
    check(file, `out.k${k}.grad_images`, out.inImage, gradients);
    checkTree(file, `grad.k${k}.gen.`, out.grads);
  }
  return names.length;
}
