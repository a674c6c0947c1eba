import { attention } from '@atelier/nn';
import { compile, Rng, tf, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import { fineStage, tileLayout, toTiles, vsaAttention, coarseStage, poolTiles, selectTiles } from './src/index.ts';
await useEngine();
const [t, h, w, K, d] = [Number(process.argv[2] ?? 16), 32, 32, 4, 64];
const keep = Number(process.argv[3] ?? 32);
const T = t * h * w;
const rng = new Rng('x');
const [q, k, v] = ['q', 'k', 'v'].map((n) => rng.child(n).normal([1, K, T, d])) as [Tensor, Tensor, Tensor];
const layout = tileLayout([t, h, w]);
const tiles = [q, k, v].map((x) => toTiles(x, layout)) as [Tensor, Tensor, Tensor];
const lists = tf.tidy(() => selectTiles(coarseStage(...(tiles.map((x) => poolTiles(x, layout)) as [Tensor, Tensor, Tensor])).scores, keep));
async function time(name: string, f: () => Tensor | Tensor[], flops: number, n = 4) {
  const t0 = performance.now(); tf.dispose(f()); const first = performance.now() - t0;
  const ms: number[] = [];
  for (let i = 0; i < n; i++) { const s = performance.now(); tf.dispose(f()); ms.push(performance.now() - s); }
  const best = Math.min(...ms);
  console.log(name.padEnd(24), best.toFixed(0).padStart(7), 'ms', (flops / best / 1e6).toFixed(0).padStart(5), 'GF/s', 'first', first.toFixed(0), 'rss', (process.memoryUsage().rss / 2 ** 20).toFixed(0));
  return best;
}
const modes = (process.argv[4] ?? 'fine,vsa,dense,finegrad,densegrad').split(',');
const back = (f: (a: Tensor, b: Tensor, c: Tensor) => Tensor) => compile((a: Tensor, b: Tensor, c: Tensor) => { const g = valueAndGrad((x: { a: Tensor; b: Tensor; c: Tensor }) => ({ loss: tf.sum(f(x.a, x.b, x.c)), aux: {} }), { a, b, c }).grads; return [g.a, g.b, g.c]; });
const fineF = 4 * T * keep * 64 * d * K;
const denseF = 4 * T * T * d * K;
if (modes.includes('fine')) { const f = compile((a: Tensor, b: Tensor, c: Tensor, l: Tensor) => fineStage(a, b, c, l, layout.sizes)); await time('fine', () => f(...tiles, lists), fineF); f.dispose(); }
if (modes.includes('vsa')) { const f = compile((a: Tensor, b: Tensor, c: Tensor) => vsaAttention(a, b, c, { grid: [t, h, w], keep })); await time('vsa', () => f(q, k, v), fineF); if (modes.includes('profile')) console.log(f.profile(q, k, v).slice(0, 16).map((r) => `${r.op} ${r.ms.toFixed(0)} ms ${r.nodes}`).join("; ")); f.dispose(); }
if (modes.includes('dense')) { const f = compile((a: Tensor, b: Tensor, c: Tensor) => attention(a, b, c)); await time('dense', () => f(q, k, v), denseF, 2); f.dispose(); }
if (modes.includes('finegrad')) { const f = back((a, b, c) => fineStage(a, b, c, lists, layout.sizes)); await time('fine grad', () => f(...tiles), 3.5 * fineF); if (modes.includes('profile')) console.log(f.profile(...tiles).slice(0, 16).map((r) => `${r.op} ${r.ms.toFixed(0)} ms ${r.nodes}`).join("; ")); f.dispose(); }
if (modes.includes('vsagrad')) { const f = back((a, b, c) => vsaAttention(a, b, c, { grid: [t, h, w], keep })); await time('vsa grad', () => f(q, k, v), 3.5 * fineF); f.dispose(); }
if (modes.includes('densegrad')) { const f = back((a, b, c) => attention(a, b, c)); await time('dense grad', () => f(q, k, v), 3.5 * denseF, 1); f.dispose(); }
