import { edmDenoiser, edmWeight, lognormalSigma } from '@atelier/diffusion';
import type { SongUNetConfig, SongUNetParams } from '@atelier/nn';
import { tf, valueAndGrad, type Tensor, type Tree } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import {
  distillation,
  edmParameterization,
  emaBeta,
  fakeScoreLoss,
  fewStepChain,
  generatorLoss,
  guidanceScales,
  matchingSigma,
  sidUNetFromStateDict,
  unetNetwork,
  type GeneratorLoss,
  type MatchingOptions,
  type Parameterization,
  type SidNetwork,
} from '../../src/index.ts';
import { check, checkTree, edmMlp, image, list, number, trained, treeOf, unetOf, values, type Mlp } from './tensors.ts';

const guidance = guidanceScales.none;

/** The levels of a file. */
export function edmOf(file: GoldenFile): Parameterization {
  return edmParameterization({
    sigmaData: number(file, 'sigma_data'),
    mean: number(file, 'P_mean'),
    std: number(file, 'P_std'),
    ...rangeOf(file),
    ...('tmax' in file.metadata && { end: number(file, 'tmax') }),
    ...('init_sigma' in file.metadata && { sigmaInit: number(file, 'init_sigma') }),
  });
}

export const rangeOf = (file: GoldenFile) => ({ min: number(file, 'sigma_min'), max: number(file, 'sigma_max'), rho: number(file, 'rho') });

/** Both laws of the noise level, and the weight of the fit. */
export function edmSigma(file: GoldenFile): number {
  const ends = list(file, 'tmaxes');
  for (const end of ends)
    check(file, `out.sigma_tmax${end}`, matchingSigma(file.tensor('in.u'), { ...rangeOf(file), end }), { max: 1e-5, abs: 1e-7 });
  const sigma = lognormalSigma(file.tensor('in.normal'), { mean: number(file, 'P_mean'), std: number(file, 'P_std') });
  expectClose(sigma, file.host('out.sigma_fake'), { rel: 1e-5 }, 'out.sigma_fake');
  expectClose(edmWeight(sigma, number(file, 'sigma_data')), file.host('out.lambda_fake'), { rel: 1e-5 }, 'out.lambda_fake');
  return ends.length;
}

type Nets<P> = { teacher: P; fake: P; generator: P };

/** Loss of the generator in one step, its gradient in the image and in the parameters. */
function oneStep<P extends Tree>(file: GoldenFile, nets: Nets<P>, network: (p: P) => SidNetwork, alpha: number) {
  const parameterization = edmOf(file);
  const t = matchingSigma(file.tensor('in.u'), { ...rangeOf(file), end: number(file, 'tmax') });
  const options = { parameterization, guidance, alpha, allowUnstableAlpha: true, scale: number(file, 'loss_scaling_G') };
  const lossOf = (x: Tensor): GeneratorLoss =>
    generatorLoss({ teacher: network(nets.teacher), fake: network(nets.fake) }, { x, e: image(file, 'in.eps'), t }, options);
  const levels = parameterization.levels(1);
  const { aux, grads } = valueAndGrad((p: P) => {
    const x = fewStepChain(network(p), [image(file, 'in.z')], { parameterization, levels }).outputs[0]!;
    const { loss, perElement, noised, teacher, fake, weight } = lossOf(x);
    return { loss, aux: { x, loss, perElement, noised, teacher, fake, weight } };
  }, nets.generator);
  const inImage = valueAndGrad(({ x }: { x: Tensor }) => ({ loss: lossOf(x).loss, aux: {} }), { x: aux.x }).grads.x;
  return { parts: { ...aux, t }, grads, inImage };
}

/** Every stage of the loss, for every α. */
export function edmGenerator(file: GoldenFile): number {
  const nets = { teacher: treeOf<Mlp>(file, 'teacher.'), fake: treeOf<Mlp>(file, 'fake.'), generator: treeOf<Mlp>(file, 'gen.') };
  const alphas = file.metadata['alphas']!.split(',');
  for (const alpha of alphas) {
    const { parts, grads, inImage } = oneStep(file, nets, edmMlp, Number(alpha));
    check(file, 'out.images', parts.x);
    check(file, 'out.sigma', parts.t);
    check(file, 'out.x_t', parts.noised);
    check(file, 'out.y_real', parts.teacher);
    check(file, 'out.y_fake', parts.fake);
    check(file, 'out.weight_factor', tf.reciprocal(parts.weight));
    check(file, `out.a${alpha}.loss_elem`, parts.perElement);
    check(file, `out.a${alpha}.loss`, parts.loss);
    check(file, `out.a${alpha}.grad_images`, inImage, { max: 1e-3, abs: 1e-7 });
    checkTree(file, `grad.a${alpha}.gen.`, grads);
  }
  return alphas.length;
}

/** The fake score's loss and gradient. */
export function edmFake(file: GoldenFile): number {
  const parameterization = edmOf(file);
  const t = lognormalSigma(file.tensor('in.normal'), { mean: number(file, 'P_mean'), std: number(file, 'P_std') });
  check(file, 'out.sigma', t);
  const { aux, grads } = valueAndGrad(
    (p: Mlp) => {
      const { loss, perElement } = fakeScoreLoss(
        edmMlp(p),
        { x: image(file, 'in.images'), e: image(file, 'in.eps'), t },
        { parameterization },
      );
      return { loss, aux: { loss, perElement } };
    },
    treeOf<Mlp>(file, 'fake.'),
  );
  check(file, 'out.loss_elem', aux.perElement);
  check(file, 'out.loss', aux.loss);
  checkTree(file, 'grad.fake.', grads);
  return 1;
}

/** A sample with a NaN is left out and still counts in the divisor. */
export function edmNaN(file: GoldenFile): number {
  const clean = file.host('in.images_clean');
  const [B, C, H, W] = clean.shape as [number, number, number, number];
  const data = Float32Array.from(clean.data);
  const [, flatIndex] = /flat index (\d+)/.exec(file.metadata['fn']!)!;
  for (const sample of file.host('in.nan_sample').data) data[sample * C * H * W + Number(flatIndex)] = NaN;
  const x = tf.transpose(tf.tensor(data, [B, C, H, W]), [0, 2, 3, 1]);
  const t = matchingSigma(file.tensor('in.u'), { ...rangeOf(file), end: number(file, 'tmax') });
  const options = { parameterization: edmOf(file), guidance, alpha: number(file, 'alpha'), scale: number(file, 'loss_scaling_G') };
  const nets = { teacher: edmMlp(treeOf<Mlp>(file, 'teacher.')), fake: edmMlp(treeOf<Mlp>(file, 'fake.')) };
  const { loss, perElement, kept } = generatorLoss(nets, { x, e: image(file, 'in.eps'), t }, options);
  check(file, 'out.loss', loss);
  const rows = file.tensor('out.kept');
  expectClose(tf.gather(tf.transpose(perElement, [0, 3, 1, 2]), rows), file.host('out.loss_elem_kept'), values, 'out.loss_elem_kept');
  const wanted = Array.from({ length: B }, (_, b) => (Array.from(file.host('out.kept').data).includes(b) ? 1 : 0));
  expectClose(kept, wanted, {}, 'out.kept');
  return 1;
}

/** Alternating updates: losses, both networks, the average and its decay after each. */
export function edmTraining(file: GoldenFile): number {
  const parameterization = edmOf(file);
  const matching: MatchingOptions = { alpha: number(file, 'alpha'), scale: number(file, 'loss_scaling_G') };
  const { levels: _, ...run } = distillation<Mlp>((p) => edmMlp(p), { parameterization, steps: 1, guidance, matching });
  let { fake, generator } = run.init(treeOf<Mlp>(file, 'teacher.'));
  const teacher = treeOf<Mlp>(file, 'teacher.');
  const [iterations, B] = [number(file, 'iters'), number(file, 'B')];
  const ema = { halfLife: number(file, 'ema_halflife_images'), rampUp: number(file, 'ema_rampup_ratio') };
  const law = { mean: number(file, 'P_mean'), std: number(file, 'P_std') };
  for (let i = 0; i < iterations; i++) {
    const draw = (key: string): Tensor => image(file, `in.${i}.${key}`);
    const fitted = run.fakeUpdate(fake, generator.params, {
      noises: [draw('z_fake')],
      e: draw('eps_fake'),
      t: lognormalSigma(draw('normal'), law),
      rate: tf.scalar(number(file, 'lr_fake')),
    });
    fake = fitted.state;
    const beta = emaBeta(i * B, B, ema);
    const moved = run.generatorUpdate(
      generator,
      { teacher, fake: fake.params },
      {
        noises: [draw('z_gen')],
        e: draw('eps_gen'),
        t: matchingSigma(draw('u'), { ...rangeOf(file), end: number(file, 'tmax') }),
        rate: tf.scalar(number(file, 'lr_gen')),
        beta: tf.scalar(beta),
      },
    );
    generator = moved.state;
    check(file, `out.${i}.loss_fake`, fitted.metrics.loss, trained);
    check(file, `out.${i}.loss_gen`, moved.metrics.loss, trained);
    check(file, `out.${i}.ema_beta`, tf.scalar(beta), { max: 1e-5, abs: 1e-7 });
    checkTree(file, `out.${i}.fake.`, fake.params, trained);
    checkTree(file, `out.${i}.gen.`, generator.params, trained);
    checkTree(file, `out.${i}.ema.`, generator.average, trained);
  }
  return iterations;
}

export type UNetNets = Nets<SongUNetParams> & { config: SongUNetConfig };

/** The three networks of a file. */
export function unetsOf(file: GoldenFile): UNetNets {
  const config = unetOf(file);
  const load = (prefix: string): SongUNetParams => sidUNetFromStateDict(file.tensors(prefix), config);
  return { teacher: load('teacher.'), fake: load('fake.'), generator: load('gen.'), config };
}

/** The U-Net with and without augmentation labels, and the generator's loss through three of them. */
export function edmUNet(file: GoldenFile): number {
  const { config, ...nets } = unetsOf(file);
  const [x, sigma] = [image(file, 'in.fwd_x'), file.tensor('in.fwd_sigma')];
  const forward = (augment?: Tensor): Tensor =>
    edmDenoiser(unetNetwork(nets.teacher, config, augment && { augment }), number(file, 'sigma_data'))(x, sigma);
  check(file, 'out.fwd_D', forward());
  if (file.has('in.fwd_augment')) check(file, 'out.fwd_D_augment', forward(file.tensor('in.fwd_augment')));
  const alphas = file.metadata['alphas']!.split(',');
  let differentiated = 0;
  for (const alpha of alphas) {
    const { parts, grads, inImage } = oneStep(file, nets, (p) => unetNetwork(p, config), Number(alpha));
    check(file, 'out.images', parts.x);
    check(file, `out.a${alpha}.loss_elem`, parts.perElement);
    check(file, `out.a${alpha}.loss`, parts.loss);
    check(file, `out.a${alpha}.grad_images`, inImage, { max: 1e-3, abs: 1e-7 });
    // A case may come without its gradients, which are most of the file; not all of them.
    if (!file.hasAny(`grad.a${alpha}.`)) continue;
    checkTree(file, `grad.a${alpha}.gen.model.`, grads);
    differentiated++;
  }
  return differentiated;
}
