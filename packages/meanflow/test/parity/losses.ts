import { tf, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import { meanFlowLoss, timesFromDraws, type AverageVelocity, type MeanFlowLoss } from '../../src/index.ts';
import { weightedError } from '@atelier/diffusion';
import { casesWith, number, tensorsOf } from './cases.ts';
import { checkTimes, samplerOfPyTorch } from './time-samplers.ts';

/** 1e-5 of the element, plus the float32 rounding error of a difference between terms as large as the largest element. */
const close = { rel: 1e-5, max: 1e-6 };
/** Largest |value|. */
const largest = (x: Tensor): number => tf.max(tf.abs(x)).dataSync()[0]!;

/** A free tensor u takes the place of the network, as if r = t: this checks only the weight and the reduction. */
export function adaptiveWeights(file: GoldenFile): number {
  const cases = casesWith(file, 'sqerr');
  const target = tf.sub(file.tensor('e'), file.tensor('x'));
  for (const name of cases) {
    const settings = file.settings(name);
    const options = { p: number(settings, 'norm_p'), c: number(settings, 'norm_eps') };
    const { loss, aux, grads } = tf.tidy(() =>
      valueAndGrad(
        ({ u }: { u: Tensor }) => {
          const { loss: value, squaredError, weight, lossPerSample } = weightedError(u, target, options);
          return { loss: value, aux: { squaredError, weight, lossPerSample } };
        },
        { u: file.tensor('u') },
      ),
    );
    expectClose(aux.squaredError, file.host(`${name}.sqerr`), close, `${name}.sqerr`);
    expectClose(aux.weight, file.host(`${name}.weight`), close, `${name}.weight`);
    expectClose(aux.lossPerSample, file.host(`${name}.loss_per_sample`), close, `${name}.loss_per_sample`);
    expectClose(tf.reshape(loss, [1]), file.host(`${name}.loss`), close, `${name}.loss`);
    // The gradient (2/B)·w·(u - v) has the float32 rounding error of u and v. The weight of a sample with a small error makes it larger.
    const rounding = (2 / target.shape[0]!) * largest(aux.weight) * 2 ** -23 * (largest(target) + largest(file.tensor('u')));
    expectClose(grads.u, file.host(`${name}.grad_u`), { rel: 1e-5, abs: rounding }, `${name}.grad_u`);
  }
  return cases.length;
}

type TanhMlp = { W1: Tensor; b1: Tensor; W2: Tensor; b2: Tensor };

/** The network of the file: u = W2 tanh(W1 [vec(z); t; h] + b1) + b2. */
const tanhMlp =
  ({ W1, b1, W2, b2 }: TanhMlp): AverageVelocity =>
  (z, t, h) => {
    const batch = z.shape[0]!;
    const column = (a: Tensor): Tensor => tf.reshape(a, [batch, 1]);
    const input = tf.concat([tf.reshape(z, [batch, -1]), column(t), column(h)], 1); // [B, …] -> [B, d + 2]
    const hidden = tf.tanh(tf.add(tf.matMul(input, W1, false, true), b1));
    return tf.reshape(tf.add(tf.matMul(hidden, W2, false, true), b2), z.shape); // [B, d] -> [B, …]
  };

/** Every stage of the loss on a tiny network, and the gradients of its parameters. */
export function lossOfTanhMlp(file: GoldenFile): number {
  const cases = casesWith(file, 'u_tgt');
  const params = tensorsOf(file, 'param.') as TanhMlp;
  for (const name of cases) {
    const settings = file.settings(name);
    const draws = { t: file.tensor('normal_t'), r: file.tensor('normal_r'), equal: file.tensor('uniform') };
    const times = timesFromDraws(draws, samplerOfPyTorch(settings));
    checkTimes(file, name, times);
    const options = { p: number(settings, 'norm_p'), c: number(settings, 'norm_eps') };
    const batch = { x: file.tensor('x'), e: file.tensor('e'), ...times };
    const { aux, grads } = tf.tidy(() =>
      valueAndGrad((p: TanhMlp) => {
        const parts = meanFlowLoss(tanhMlp(p), batch, options);
        return { loss: parts.loss, aux: parts };
      }, params),
    );
    checkParts(file, name, aux, close);
    for (const key of Object.keys(params) as (keyof TanhMlp)[])
      expectClose(grads[key], file.host(`${name}.grad.${key}`), { rel: 1e-5, max: 1e-5 }, `${name}.grad.${key}`);
  }
  return cases.length;
}

/** Compares all stages of the loss that the file holds for the case. */
export function checkParts(file: GoldenFile, name: string, parts: MeanFlowLoss, tolerance: Parameters<typeof expectClose>[2]): void {
  const stages: [key: string, value: Tensor][] = [
    ['z', parts.z],
    ['z_t', parts.z],
    ['v', parts.velocity],
    ['v_g', parts.velocity],
    ['u', parts.u],
    ['dudt', parts.dudt],
    ['u_tgt', parts.target],
    ['sqerr', parts.squaredError],
    ['weight', parts.weight],
    ['loss_per_sample', parts.lossPerSample],
    ['loss', tf.reshape(parts.loss, [1])],
  ];
  const present = stages.filter(([key]) => file.has(`${name}.${key}`));
  if (present.length < 8) throw new Error(`${name}: wanted at least 8 stages of the loss, got ${present.map(([key]) => key).join(', ')}`);
  for (const [key, value] of present) expectClose(value, file.host(`${name}.${key}`), tolerance, `${name}.${key}`);
}
