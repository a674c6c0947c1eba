import { beforeAll, describe, expect, it } from 'vitest';
import { engineName, Rng, tf, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import { attention, ditBlock, ditBlocks, initDiT, inPieces, multiHeadSelfAttention, pieceCount } from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

const rng = new Rng('pieces');

describe('work in pieces', () => {
  it('the bytes of the widest activation decide into how many pieces a batch is cut, on an engine with a graph', () => {
    const inGraph = (count: number): number => (engineName() === 'ort' ? count : 1);
    expect(pieceCount(32, 4)).toBe(1);
    expect(pieceCount(32, 2 ** 19)).toBe(inGraph(4));
    expect(pieceCount(3, 2 ** 30)).toBe(inGraph(3));
  });

  it('pieces give the same result as the whole, also for sizes that do not divide', () => {
    const [x, y] = [rng.normal([7, 3]), rng.normal([7, 3])];
    expectClose(
      inPieces([x, y], 3, 0, (a, b) => tf.mul(a!, b!)),
      tf.mul(x, y),
      { abs: 0 },
    );
    expectClose(
      inPieces([x], 2, 1, (a) => tf.neg(a!)),
      tf.neg(x),
      { abs: 0 },
    );
  });

  it('attention in blocks of queries equals attention in one piece, value and gradient', () => {
    const [q, k, v, w] = ['q', 'k', 'v', 'w'].map((name) => rng.child(name).normal([2, 4, 1100, 8])) as [Tensor, Tensor, Tensor, Tensor];
    const run = (mask?: Tensor) =>
      valueAndGrad((p) => ({ loss: tf.sum(tf.mul(attention(p.q, p.k, p.v, mask ? { mask } : {}), w)), aux: {} }), { q, k, v });
    // With a mask of zeros the other code path is used, which is not cut.
    const [cut, whole] = [run(), run(tf.zeros([1, 1, 1, 1]))];
    for (const name of ['q', 'k', 'v'] as const) expectClose(cut.grads[name], whole.grads[name], { max: 1e-5 }, name);
    expectClose(attention(q, k, v), attention(q, k, v, { mask: tf.zeros([1, 1, 1, 1]) }), { max: 1e-6 });
  });

  it('DiT blocks on pieces of the batch equal the blocks on the whole batch, value and gradient', () => {
    const [B, T, D, heads] = [6, 192, 240, 4];
    const { blocks } = initDiT(rng.child('dit'), { inChannels: 1, patchSize: 1, width: D, depth: 2, heads });
    const [params, x, c] = [rng.child('gates'), rng.normal([B, T, D]), rng.normal([B, D])];
    for (const block of blocks) block.adaLN_modulation[1].weight = tf.mul(params.normal([6 * D, D]), 0.05);
    if (engineName() === 'ort') expect(pieceCount(B, 4 * T * 4 * D)).toBeGreaterThan(1);
    const loss = (y: Tensor): { loss: Tensor; aux: object } => ({ loss: tf.mean(tf.square(y)), aux: {} });
    const cut = valueAndGrad((p) => loss(ditBlocks(p, x, c, (block, u) => multiHeadSelfAttention(block.attn, u, heads))) as never, blocks);
    const whole = valueAndGrad(
      (p) => loss(p.reduce((u, block) => ditBlock(block, u, c, (a) => multiHeadSelfAttention(block.attn, a, heads)), x)) as never,
      blocks,
    );
    expectClose(cut.loss, whole.loss, { rel: 1e-5 });
    blocks.forEach((_, l) => {
      expectClose(cut.grads[l]!.mlp.fc1.weight, whole.grads[l]!.mlp.fc1.weight, { max: 1e-5 });
      expectClose(cut.grads[l]!.attn.qkv.bias, whole.grads[l]!.attn.qkv.bias, { max: 1e-5 });
      expectClose(cut.grads[l]!.adaLN_modulation[1].weight, whole.grads[l]!.adaLN_modulation[1].weight, { max: 1e-5 });
    });
  });
});
