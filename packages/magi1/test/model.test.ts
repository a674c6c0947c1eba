import { attention, blockCausalSlices } from '@atelier/nn';
import { Rng, tf, valueAndGrad, type Tensor, type Tree } from '@atelier/tensor';
import { expectClose, expectGradients, expectNoLeak, relativeError } from '@atelier/testkit';
import { everyEngine } from '@atelier/testkit/vitest';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  attendSlices,
  cacheOf,
  decodeVideo,
  encodeVideo,
  initVae,
  latentKl,
  magiForward,
  magiLoss,
  magiParameterCount,
  publishedMagi,
  rotateTokens,
  rotation,
  type MagiInputs,
  type MagiParams,
} from '../src/index.ts';
import { noiseOf, prompt, randomWeights, tiny } from './networks.ts';

const P = 6;
const causal = (chunks: number, ranges?: number[]) => blockCausalSlices(Array<number>(chunks).fill(P), ranges);

/** A call on chunks of one frame, each with its own text. */
const inputs = (chunks: number, seed = 'model', tokens = 4): MagiInputs => {
  const { features, mask } = prompt(seed, tokens, chunks);
  return {
    x: noiseOf(seed, chunks),
    t: tf.tensor2d(Array.from({ length: chunks }, (_, j) => 0.9 - j / 10), [1, chunks]), // prettier-ignore
    texts: [{ chunks, features: tf.reshape(features, [1, chunks, 6, 5]), mask: tf.reshape(mask, [1, chunks, 6]) }],
    textOn: tf.ones([1, chunks]),
  };
};

describe('the network', () => {
  everyEngine(() => {
    let params: MagiParams;
    beforeAll(() => void (params = randomWeights('model')));

    it('gives the same in two calls with a cache as in one', () => {
      tf.tidy(() => {
        const all = inputs(4);
        const joint = magiForward(params, all, attendSlices(causal(4, [1, 2, 2, 3])), tiny).v;
        const { features, mask } = all.texts[0]!;
        const part = (from: number, count: number): MagiInputs => ({
          x: tf.slice(all.x, [0, from, 0, 0, 0], [1, count, 4, 6, 3]),
          t: tf.slice(all.t, [0, from], [1, count]),
          frames: tf.range(from, from + count, 1, 'float32'),
          texts: [{ chunks: count, features: tf.slice(features, [0, from, 0, 0], [1, count, 6, 5]), mask: tf.slice(mask!, [0, from, 0], [1, count, 6]) }], // prettier-ignore
          textOn: tf.ones([1, count]),
        });
        const first = magiForward(params, part(0, 2), attendSlices(causal(2, [1, 2])), tiny);
        const slices = [
          { queries: [0, P], keys: [P, 3 * P], kind: 'full' },
          { queries: [P, 2 * P], keys: [P, 4 * P], kind: 'full' },
        ] as const;
        const second = magiForward(params, part(2, 2), attendSlices(slices, [cacheOf(first, 0, P), cacheOf(first, 1, P)]), tiny);
        expect(relativeError(tf.concat([first.v, second.v], 1), joint)).toBeLessThan(2e-5);
      });
    });

    it('with a history of everything is attention with a block-causal mask; with one token a block it is causal', () => {
      tf.tidy(() => {
        const rng = new Rng('limits');
        const [q, k, v] = ['q', 'k', 'v'].map((name) => rng.child(name).normal([1, 2, 5, 4])) as [Tensor, Tensor, Tensor];
        expectClose(attendSlices(blockCausalSlices([1, 1, 1, 1, 1]))(q, k, v, 0), attention(q, k, v, { causal: true }), { abs: 2e-6 });
        expectClose(attendSlices(blockCausalSlices([5], [9]))(q, k, v, 0), attention(q, k, v), { abs: 2e-6 });
      });
    });

    it('sees positions only relative to each other, and leaves the last quarter of a head as it is', () => {
      tf.tidy(() => {
        const rng = new Rng('rope');
        const [q, k] = ['q', 'k'].map((name) => rng.child(name).normal([1, 2, 12, 16])) as [Tensor, Tensor];
        const bands = tf.tensor1d([0.9, 0.03]);
        const logits = (first: number): Tensor => {
          const turn = rotation(bands, tf.range(first, first + 2, 1, 'float32'), { h: 2, w: 3 });
          return tf.matMul(rotateTokens(q, turn), rotateTokens(k, turn), false, true);
        };
        expectClose(logits(7), logits(0), { abs: 1e-5 });
        const turned = rotateTokens(q, rotation(bands, tf.range(0, 2, 1, 'float32'), { h: 2, w: 3 }));
        expectClose(tf.slice(turned, [0, 0, 0, 12], [1, 2, 12, 4]), tf.slice(q, [0, 0, 0, 12], [1, 2, 12, 4]));
        // Sixteen by sixteen tokens are the reference: there neighbours have a distance of 1.
        const { sin } = rotation(bands, tf.zeros([1]), { h: 16, w: 16 });
        const rows = Array.from({ length: 16 }, (_, r) => Math.sin((r - 7.5) * 0.9));
        expectClose(tf.slice(tf.reshape(sin, [16, 16, 6]), [0, 0, 2], [16, 1, 1]).dataSync(), rows, { abs: 1e-5 });
      });
    });

    it('does not care about the order of text tokens, nor about those that are masked', () => {
      tf.tidy(() => {
        const all = inputs(2);
        const run = (features: Tensor, mask: Tensor): Tensor =>
          magiForward(params, { ...all, texts: [{ chunks: 2, features, mask }] }, attendSlices(causal(2)), tiny).v;
        const { features, mask } = all.texts[0]!;
        const order = tf.tensor1d([4, 0, 5, 2, 1, 3], 'int32');
        const plain = run(features, mask!);
        expectClose(run(tf.gather(features, order, 2), tf.gather(mask!, order, 2)), plain, { abs: 1e-5, max: 1e-5 });
        const unseen = tf.mul(tf.sub(1, tf.cast(tf.reshape(mask!, [1, 2, 6, 1]), 'float32')), 7);
        expectClose(run(tf.add(features, unseen), mask!), plain, { abs: 1e-5, max: 1e-5 });
      });
    });

    it('has the gradients of central differences', () => {
      tf.tidy(() => {
        const small = { ...tiny, layers: 1 };
        const weights = randomWeights('gradients', small);
        const all = inputs(2);
        const { bands } = weights.rope;
        const { weight } = weights.videodit_blocks.layers[0]!.self_attention.q_layernorm;
        const dy = new Rng('dy').normals(2 * 4 * 6 * 3);
        const f = (x: Tensor, b: Tensor, w: Tensor): Tensor => {
          const layer = weights.videodit_blocks.layers[0]!;
          const norm = { ...layer.self_attention.q_layernorm, weight: w };
          const blocks = {
            ...weights.videodit_blocks,
            layers: [{ ...layer, self_attention: { ...layer.self_attention, q_layernorm: norm } }],
          };
          return magiForward({ ...weights, rope: { bands: b }, videodit_blocks: blocks }, { ...all, x }, attendSlices(causal(2)), small).v;
        };
        const some = tf.slice(all.x, [0, 0, 0, 0, 0], [1, 2, 4, 6, 3]);
        const direction = new Rng('direction').normal(some.shape);
        // One direction of the latents, and all of the bands and of the norm.
        const along = (s: Tensor, b: Tensor, w: Tensor): Tensor => f(tf.add(some, tf.mul(s, direction)), b, w);
        expectGradients((s, b, w) => along(s!, b!, w!), [tf.scalar(0.1), bands, weight], { cotangent: dy, max: 5e-3, step: 2 ** -8 });
      });
    });

    it('learns nothing from the velocities of clean chunks, but through what others see of them', () => {
      tf.tidy(() => {
        const { features, mask } = prompt('loss', 4, 3);
        const batch = {
          x: noiseOf('x', 3),
          e: noiseOf('e', 3),
          t: tf.tensor2d([[0.97, 0.6, 0.1]]),
          clean: tf.tensor2d([[1, 0, 0]]),
          features: tf.reshape(features, [1, 3, 6, 5]),
          mask: tf.reshape(mask, [1, 3, 6]),
          dropped: tf.tensor2d([[1, 0, 0]]),
        };
        const training = { aloneShare: 0, ranges: [0] };
        const gradientOfFirst = (detachClean: boolean, M: Tensor): number => {
          const [grad] = tf.grads((x: Tensor) => magiLoss(params, { ...batch, x, clean: M }, tiny, { ...training, detachClean }).loss)([
            batch.x,
          ]);
          return tf.max(tf.abs(tf.slice(grad!, [0, 0, 0, 0, 0], [1, 1, 4, 6, 3]))).dataSync()[0]!;
        };
        expect(gradientOfFirst(false, batch.clean)).toBeGreaterThan(1e-5);
        expect(gradientOfFirst(true, batch.clean)).toBe(0);
        const { perChunk, loss } = magiLoss(params, batch, tiny, training);
        const [, second, third] = perChunk.dataSync();
        expectClose(loss.dataSync(), [(second! + third!) / 2], { rel: 1e-5 });
      });
    });

    it('leaves no tensor behind', async () => {
      const all = inputs(2);
      await expectNoLeak(() => tf.tidy(() => magiForward(params, all, attendSlices(causal(2)), tiny).v));
      await expectNoLeak(() =>
        tf.tidy(() => {
          const { loss } = valueAndGrad(
            (at: Tree) => ({
              loss: tf.sum(magiForward(at as unknown as MagiParams, all, attendSlices(causal(2)), tiny).v) as Tensor,
              aux: [],
            }),
            params as unknown as Tree,
          );
          return loss;
        }),
      );
    });

    it('has a video autoencoder whose gradients are those of central differences', () => {
      tf.tidy(() => {
        const settings = { videoSize: 4, videoLength: 2, patchSize: 2, patchLength: 1, latentChannels: 2, width: 8, depth: 1, heads: 2 };
        const vae = initVae(new Rng('vae'), settings);
        const x = new Rng('video').normal([1, 2, 4, 6, 3]);
        const direction = new Rng('direction').normal(x.shape);
        const f = (s: Tensor): Tensor => {
          const moments = encodeVideo(vae, tf.add(x, tf.mul(s, direction)), settings);
          return tf.add(tf.sum(tf.square(decodeVideo(vae, moments.mean, settings))), tf.sum(latentKl(moments)));
        };
        expectGradients((s) => f(s!), [tf.scalar(0)], { max: 5e-3, step: 2 ** -8 });
      });
    });
  });

  it('has the published numbers of parameters', () => {
    expect(magiParameterCount(publishedMagi['4.5B']) / 1e9).toBeCloseTo(4.46, 3);
    expect(magiParameterCount(publishedMagi['24B']) / 1e9).toBeCloseTo(23.899, 3);
  });
});
