import { lognormalSigma } from '@atelier/diffusion';
import type { SongUNetParams } from '@atelier/nn';
import { tf, valueAndGrad, vjp, type Tensor } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import {
  addNoise,
  adversarialSettings,
  crossEntropy,
  discriminatorLoss,
  discriminatorTerm,
  fakeScoreLoss,
  fewStepChain,
  generatorAdversarialLoss,
  generatorLoss,
  guidanceScales,
  matchingSigma,
  sidUNetFromStateDict,
  unetCritic,
  unetNetwork,
  type LogitOptions,
} from '../../src/index.ts';
import { edmOf, rangeOf, unetsOf } from './edm.ts';
import { check, checkTree, gradients, image, number, unetOf, values } from './tensors.ts';

/** Cross-entropies of the two papers with logits beyond ±10, and their gradients. */
export function ganTerms(file: GoldenFile): number {
  const [real, fake] = [file.tensor('in.logit_real'), file.tensor('in.logit_fake')];
  const [w, lambda] = [file.tensor('in.weight_factor'), file.tensor('in.lambda')];
  const cases = [
    { name: 'sida', reduction: 'batch', criticClamp: false, generatorFactor: tf.reciprocal(w), criticFactor: lambda },
    { name: 'flow', reduction: 'sample', criticClamp: true, generatorFactor: w, criticFactor: tf.onesLike(lambda) },
  ] as const;
  for (const { name, reduction, criticClamp, generatorFactor, criticFactor } of cases) {
    const options: LogitOptions = { reduction, clamp: true };
    const same = (x: Tensor): Tensor => tf.onesLike(x);
    const generator = vjp((l) => tf.mul(crossEntropy(l!, 1, options), generatorFactor), [fake], same(w));
    expectClose(generator.value, file.host(`out.${name}_gen_raw`), values, `out.${name}_gen_raw`);
    expectClose(generator.grads[0]!, file.host(`out.${name}_gen_grad_logit`), gradients, `out.${name}_gen_grad_logit`);
    const term = (r: Tensor, f: Tensor): Tensor => tf.mul(discriminatorTerm(r, f, { reduction, clamp: criticClamp }), criticFactor);
    const critic = vjp((r, f) => term(r!, f!), [real, fake], same(w));
    expectClose(critic.value, file.host(`out.${name}_disc_raw`), values, `out.${name}_disc_raw`);
    expectClose(critic.grads[0]!, file.host(`out.${name}_disc_grad_real`), gradients, `out.${name}_disc_grad_real`);
    expectClose(critic.grads[1]!, file.host(`out.${name}_disc_grad_fake`), gradients, `out.${name}_disc_grad_fake`);
  }
  return cases.length;
}

/** The generator's joint loss: matching and adversarial by halves. */
export function sidaGenerator(file: GoldenFile): number {
  const { config, teacher, fake, generator } = unetsOf(file);
  const parameterization = edmOf(file);
  const t = matchingSigma(file.tensor('in.u'), { ...rangeOf(file), end: number(file, 'tmax') });
  const options = { parameterization, guidance: guidanceScales.none, alpha: number(file, 'alpha'), scale: number(file, 'loss_scaling_G') };
  const adversarial = { ...adversarialSettings.sida, generatorScale: number(file, 'loss_scaling_G_gan') };
  const lossOf = (x: Tensor) => {
    const nets = { teacher: unetNetwork(teacher, config), fake: unetNetwork(fake, config) };
    const sid = generatorLoss(nets, { x, e: image(file, 'in.eps'), t }, options);
    const input = parameterization.input(sid.noised, t);
    const logits = unetCritic(fake, config)(input.x, input.t);
    const gan = generatorAdversarialLoss(logits, { x, weight: { teacher: sid.teacher } }, adversarial);
    const loss = tf.add(tf.mul(sid.loss, 0.5), tf.mul(gan.loss, 0.5));
    return { loss, aux: { x, loss, sid: sid.loss, perElement: sid.perElement, logits, gan: gan.loss, perSample: gan.perSample } };
  };
  const levels = parameterization.levels(1);
  const { aux, grads } = valueAndGrad((p: SongUNetParams) => {
    const chain = fewStepChain(unetNetwork(p, config), [image(file, 'in.z')], { parameterization, levels });
    return lossOf(chain.outputs[0]!);
  }, generator);
  check(file, 'out.images', aux.x);
  check(file, 'out.loss_elem', aux.perElement);
  check(file, 'out.logits', tf.expandDims(aux.logits, 3));
  check(file, 'out.loss_gan_raw', aux.perSample);
  check(file, 'out.loss_sid', aux.sid);
  check(file, 'out.loss_gan', aux.gan);
  check(file, 'out.loss', aux.loss);
  check(
    file,
    'out.grad_images',
    valueAndGrad(({ x }: { x: Tensor }) => ({ loss: lossOf(x).loss, aux: {} }), { x: aux.x }).grads.x,
    gradients,
  );
  checkTree(file, 'grad.gen.model.', grads);
  return 1;
}

/** The fake score's joint loss: denoising and discrimination. */
export function sidaDiscriminator(file: GoldenFile): number {
  const config = unetOf(file);
  const parameterization = edmOf(file);
  const t = lognormalSigma(file.tensor('in.normal'), { mean: number(file, 'P_mean'), std: number(file, 'P_std') });
  const [x, real, e] = [image(file, 'in.fake_images'), image(file, 'in.real_images'), image(file, 'in.eps')];
  const { aux, grads } = valueAndGrad(
    (p: SongUNetParams) => {
      const fit = fakeScoreLoss(unetNetwork(p, config), { x, e, t }, { parameterization, scale: number(file, 'loss_scaling') });
      const judge = (picture: Tensor): Tensor => {
        const input = parameterization.input(addNoise(parameterization, picture, e, t), t);
        return unetCritic(p, config)(input.x, input.t);
      };
      const critic = discriminatorLoss(
        { real: judge(real), fake: judge(x) },
        { t, pixels: x.size / x.shape[0]! },
        { ...adversarialSettings.sida, criticScale: number(file, 'loss_scaling_D'), parameterization },
      );
      const parts = { perElement: fit.perElement, fit: fit.loss, critic: critic.loss, perSample: critic.perSample };
      return { loss: tf.add(fit.loss, critic.loss), aux: parts };
    },
    sidUNetFromStateDict(file.tensors('fake.'), config),
  );
  check(file, 'out.loss_elem', aux.perElement);
  check(file, 'out.loss_D_raw', aux.perSample);
  check(file, 'out.loss_fake', aux.fit);
  check(file, 'out.loss_D', aux.critic);
  checkTree(file, 'grad.fake.model.', grads);
  return 1;
}
