import { everywhere, gsJacobiSampler, parseStrategy, type GsJacobiSampler, type Strategy } from '@atelier/gs-jacobi';
import { denoise, tokenSizes, type TarFlow } from '@atelier/tarflow';
import { compile, tf, type Rng, type Tensor } from '@atelier/tensor';
import type { Trained } from './model.ts';

/** Noise and labels that everything compared starts from. */
export type Draws = { noise: Tensor; y: Tensor };

/** A model with its sampler. */
export interface Subject extends Trained {
  readonly sampler: GsJacobiSampler;
  readonly T: number;
  readonly D: number;
  readonly K: number;
}

export function subjectOf(trained: Trained): Subject {
  const sampler = gsJacobiSampler(trained.config);
  return { ...trained, sampler, ...tokenSizes(trained.config), K: trained.config.blocks };
}

/** Noise for `batch` samples, and their labels, all classes in turn. */
export function drawsFor({ T, D, config }: Subject, rng: Rng, batch: number): Draws {
  const labels = Array.from({ length: batch }, (_, i) => i % config.numClasses);
  return { noise: rng.normal([batch, T, D]), y: tf.tensor1d(labels, 'int32') };
}

export const sequential = ({ K }: Subject): Strategy => everywhere(K, { method: 'sequential' });

/** All blocks in one segment. */
export const jacobi = ({ K }: Subject, iterations: number, guess: 'z' | 'zero' = 'z'): Strategy =>
  everywhere(K, { method: 'gs-jacobi', segments: 1, iterations, guess });

/** `jacobi-10`, or a name in the notation of the paper; every block starts from its noise. */
export function named(subject: Subject, name: string): Strategy {
  const plain = /^jacobi-(\d+)$/.exec(name);
  return plain ? jacobi(subject, Number(plain[1])) : parseStrategy(name, { blocks: subject.K, tokens: subject.T });
}

/** Images on the host and what they took. */
export type Drawn = { images: Float32Array; depth: number; work: number };

export function draw(subject: Subject, strategy: Strategy, { noise, y }: Draws, options: { tolerance?: number } = {}): Drawn {
  const { sampler, model } = subject;
  const { images, report } = sampler.sample(model, noise, { strategy, y, ...options });
  const host = images.dataSync().slice() as Float32Array;
  images.dispose();
  return { images: host, depth: report.depth, work: report.work };
}

/** Images after one step of score-based denoising with λ = 1. */
export function denoised({ model, config }: Subject, images: Float32Array, y: Tensor, sigma: number): Float32Array {
  const [H, W] = config.imageSize;
  const shape = [y.shape[0]!, H, W, config.inChannels];
  const step = compile((params: TarFlow, x: Tensor, labels: Tensor) => denoise(params, x, config, { sigma, y: labels }), {
    name: 'denoise',
  });
  const x = tf.tensor(images, shape);
  const out = step(model, x, y);
  const host = out.dataSync().slice() as Float32Array;
  tf.dispose([x, out]);
  step.dispose();
  return host;
}

export function rootMeanSquare(a: Float32Array, b: Float32Array): number {
  return Math.sqrt(a.reduce((sum, value, i) => sum + (value - b[i]!) ** 2, 0) / a.length);
}

export const largestDifference = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);

/** Sampling order to block numbers and back: entry i of a strategy is block K - 1 - i. */
export const byBlock = <V>(inSamplingOrder: readonly V[]): V[] => [...inSamplingOrder].reverse();
