import { attention } from '@atelier/nn';
import { compile, Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { capturedMass, vsaAttention, vsaStages, type Grid } from './src/index.ts';

// 8 × 32 × 32 tokens of a video. Queries and keys know their place, so tokens look at their neighbourhood.
await useEngine();
const grid: Grid = [8, 32, 32];
const [heads, width, T] = [4, 64, 8192];
const rng = new Rng('example');
const place = (axis: number, i: number): number => [Math.floor(i / 1024), Math.floor(i / 32) % 32, i % 32][axis]!;
const waves = Float32Array.from({ length: T * width }, (_, i) => {
  const [token, c] = [Math.floor(i / width), i % width];
  return 3 * Math.cos(place(c % 3, token) / 2 ** (1 + (c % 4)) + (c % 2) * (Math.PI / 2));
});
const places = tf.tensor(waves, [1, 1, T, width]);
const [q, k, v] = ['q', 'k', 'v'].map((name) =>
  tf.tidy(() => tf.add(rng.child(name).normal([1, heads, T, width]), name === 'v' ? 0 : places)),
);

const dense = compile((a: Tensor, b: Tensor, c: Tensor) => attention(a, b, c));
const sparse = compile((a: Tensor, b: Tensor, c: Tensor) => vsaAttention(a, b, c, { grid, keep: 16, gate: tf.zerosLike(a) }));
const seconds = (run: typeof dense): number => {
  run(q!, k!, v!).dispose();
  const began = performance.now();
  run(q!, k!, v!).dispose();
  return (performance.now() - began) / 1000;
};
const times = [seconds(dense), seconds(sparse)];
const error = tf.tidy(() => {
  const [exact, near] = [dense(q!, k!, v!), sparse(q!, k!, v!)];
  return Math.sqrt(tf.mean(tf.square(tf.sub(near, exact))).dataSync()[0]! / tf.mean(tf.square(exact)).dataSync()[0]!);
});
console.log(`dense ${times[0]!.toFixed(2)} s, 16 of 128 tiles ${times[1]!.toFixed(2)} s, relative difference ${error.toFixed(3)}`);

// How much of the weights of dense attention the choice holds, on a smaller video.
const small: Grid = [8, 16, 16];
const [a, b, c] = [q!, k!, v!].map((x) => tf.slice(x, [0, 0, 0, 0], [1, heads, 2048, width]));
const { lists, layout } = vsaStages(a!, b!, c!, { grid: small, keep: 4 });
const mass = tf.mean(capturedMass(a!, b!, lists, layout)).dataSync()[0]!;
console.log(`4 of ${layout.tiles} tiles hold ${(100 * mass).toFixed(0)} % of the weights`);
