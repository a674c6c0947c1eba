import { embedTimestep, timestepEmbedding, type AttentionSlice } from '@atelier/nn';
import { tf, valueAndGrad, flattenTree, type Tensor, type Tree } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import { expect } from 'vitest';
import {
  attendSlices,
  attendText,
  cacheOf,
  chunkLoss,
  condition,
  dropText,
  embedLatents,
  embedText,
  feedForward,
  gates,
  initialBands,
  magiFromStateDict,
  magiForward,
  magiParameters,
  norm1p,
  project,
  queriesKeysValues,
  rotateTokens,
  rotation,
  textCondition,
  textKeysValues,
  TIMES,
  type LayerCache,
} from '../../src/index.ts';
import { integers, json, networkOf, official, textsOf, video } from './layout.ts';

export function ropes(file: GoldenFile): number {
  const cases = json<{ T_total: number; H: number; W: number; dropped_leading_frames: number }[]>(file, 'cases');
  const bands = file.tensor('bands');
  for (const key of file.keys('default_bands_')) {
    const count = file.host(key).shape[0]!;
    expectClose(initialBands(8 * count), file.host(key), { abs: 2e-5 });
  }
  cases.forEach(({ T_total, H, W, dropped_leading_frames: dropped }, i) => {
    const turn = rotation(bands, tf.range(dropped, T_total, 1, 'float32'), { h: H, w: W });
    expectClose(turn.cos, file.host(`case${i}.cos`), { abs: 2e-5 });
    expectClose(turn.sin, file.host(`case${i}.sin`), { abs: 2e-5 });
    const x = tf.transpose(file.tensor(`case${i}.x`), [0, 2, 1, 3]);
    expectClose(tf.transpose(rotateTokens(x, turn), [0, 2, 1, 3]), file.host(`case${i}.y`), { abs: 2e-5 });
  });
  return cases.length;
}

export function timestepEmbeddings(file: GoldenFile, all: Golden): number {
  const { params } = networkOf(file, all);
  const t = file.tensor('t');
  const times = Array.from(file.host('t').data);
  const width = file.host('sinusoid').shape[1]!;
  const sinusoid = timestepEmbedding(t, width, TIMES);
  const vectors = embedTimestep(params.t_embedder, t, TIMES);
  const D = vectors.shape[1]!;
  times.forEach((time, i) => {
    const bound = { abs: time <= 1 ? 2e-4 : 2e-3 };
    const cut = (x: ArrayLike<number>, size: number): number[] => Array.from(x).slice(i * size, (i + 1) * size);
    expectClose(cut(sinusoid.dataSync(), width), cut(file.host('sinusoid').data, width), bound, `sinusoid of ${time}`);
    expectClose(cut(vectors.dataSync(), D), cut(file.host('t_embed').data, D), bound, `embedding of ${time}`);
  });
  const flags = file.host('y_adaln_dropout_true_false');
  expectClose(tf.reshape(textCondition(params.y_embedder, tf.tensor2d([[0, 1]])), flags.shape), flags, { abs: 2e-4 });
  expectClose(embedText(params.y_embedder, file.tensor('caption')), file.host('y_xattn'), { abs: 2e-4 });
  return times.length + 3;
}

/** The official names are exactly those of our table, with their shapes. */
export function weights(file: GoldenFile, all: Golden): number {
  const { config } = networkOf(file, all);
  const table = magiParameters(config);
  expect(Object.fromEntries(file.keys().map((key) => [key, file.host(key).shape]))).toEqual(
    Object.fromEntries(Object.entries(table).map(([name, { shape }]) => [name, shape]).sort()), // prettier-ignore
  );
  expect(Object.keys(flattenTree(magiFromStateDict(file.tensors(), config) as unknown as Tree))).toHaveLength(file.keys().length);
  return file.keys().length;
}

/** The key ranges of a file, one for each chunk of queries, as slices. */
function slicesOf(file: GoldenFile, P: number): AttentionSlice[] {
  const ranges = integers(file, 'kv_range');
  return Array.from({ length: ranges.length / 2 }, (_, j) => ({
    queries: [j * P, (j + 1) * P],
    keys: [ranges[2 * j]!, ranges[2 * j + 1]!],
    kind: 'full',
  }));
}

/** Official tokens are [T, B, D]. */
const rows = (x: Tensor): Tensor => tf.transpose(x, [1, 0, 2]);
/** [1, K, T, d] -> [T, K, d]. */
const byToken = (x: Tensor): Tensor => tf.transpose(tf.squeeze(x, [0]), [1, 0, 2]);

export function forwards(file: GoldenFile, all: Golden): number {
  const { config, params } = networkOf(file, all);
  const bound = { abs: config.rescale === 1 ? 1e-4 : 1e-3 };
  const check = (x: Tensor, key: string): void =>
    expectClose(tf.reshape(x, file.host(key).shape), file.host(key), bound, `${file.name}: ${key}`);
  const M = Number(file.setting('chunks'));
  const x = video(file.tensor('x'));
  const [h, w] = [x.shape[2]! / config.patch[0], x.shape[3]! / config.patch[1]];
  const P = (x.shape[1]! / M) * h * w;
  const { features, mask } = textsOf(file);
  const textOn = tf.fill([1, M], file.setting('caption_dropout_flag') === true ? 0 : 1);
  const inputs = { x, t: file.tensor('t'), texts: [{ chunks: M, features, mask }], textOn };
  const attend = attendSlices(slicesOf(file, P));

  // Layer 0 from its parts.
  const tokens = embedLatents(params, x, config);
  check(rows(tokens), 'tokens_in');
  check(timestepEmbedding(tf.reshape(inputs.t, [M]), file.host('sinusoid').shape[1]!, TIMES), 'sinusoid');
  check(embedTimestep(params.t_embedder, tf.reshape(inputs.t, [M]), TIMES), 't_embed');
  const cond = condition(params, inputs);
  check(cond, 'condition');
  const turn = rotation(params.rope.bands, tf.range(0, x.shape[1]!, 1, 'float32'), { h, w });
  check(turn.cos, 'rope_cos');
  check(turn.sin, 'rope_sin');
  const layer = params.videodit_blocks.layers[0]!;
  const { q, k, v, qx } = queriesKeysValues(layer.self_attention, tokens, turn, config);
  check(byToken(q), 'l0_q');
  check(byToken(k), 'l0_k');
  check(byToken(v), 'l0_v');
  check(tf.squeeze(qx, [0]), 'l0_qx');
  const self = rows(tf.reshape(tf.transpose(attend(q, k, v, 0), [0, 2, 1, 3]), [1, M * P, -1]));
  check(self, 'l0_core');
  const text = embedText(params.y_embedder, features);
  // The official code joins the tokens of all texts that are not masked.
  const used = Array.from(mask.dataSync()).flatMap((seen, i) => (seen ? [i] : []));
  const flat = tf.gather(tf.reshape(text, [used.length === 0 ? 0 : -1, config.width]), tf.tensor1d(used, 'int32'));
  check(flat, 'y_xattn_flat');
  const [kx, vx] = textKeysValues(layer.self_attention, tf.expandDims(flat, 0), config);
  check(byToken(kx), 'l0_kx');
  check(byToken(vx), 'l0_vx');
  const cross = attendText(layer.self_attention, qx, [{ chunks: M, features: text, mask }], config, M);
  check(rows(cross), 'l0_xattn');
  check(rows(project(layer.self_attention, rows(self), cross)), 'l0_proj');
  check(tf.concat(gates(layer.ada_modulate_layer, cond).map((gate) => tf.reshape(gate, [1, M, -1])), 2), 'l0_gate'); // prettier-ignore
  check(rows(feedForward(layer.mlp, tokens, config)), 'l0_mlp_of_tokens_in');

  const whole = magiForward(params, inputs, attend, config);
  expect(whole.hidden).toHaveLength(file.keys('layer').length);
  whole.hidden.forEach((hidden, i) => check(rows(hidden), `layer${i}_out`));
  check(rows(norm1p(params.videodit_blocks.final_layernorm, whole.hidden.at(-1)!)), 'final_ln');
  check(official(whole.v), 'v');
  return 20 + whole.hidden.length;
}

export function cachedForwards(file: GoldenFile, all: Golden): number {
  const { config, params } = networkOf(file, all);
  const check = (x: Tensor, key: string): void => expectClose(x, file.host(key), { abs: 1e-4 }, `${file.name}: ${key}`);
  const prefix = Number(file.setting('prefix_chunks'));
  const c = Number(file.setting('chunk_width'));
  const x = video(file.tensor('x'));
  const [B, F, H, W] = x.shape as [number, number, number, number];
  const M = F / c;
  const P = (c * H * W) / (config.patch[0] * config.patch[1]);
  const { features, mask } = textsOf(file);
  const on = file.setting('caption_dropout_flag') === true ? 0 : 1;
  const slices = slicesOf(file, P);
  const call = (first: number, end: number, caches: LayerCache[]) => {
    const chunks = end - first;
    const cut = (y: Tensor, at: number, size: number): Tensor => tf.slice(y, [0, at, ...y.shape.slice(2).map(() => 0)], [y.shape[0]!, size, ...y.shape.slice(2)]); // prettier-ignore
    const own = slices.slice(first, end).map(({ queries, ...rest }) => ({ ...rest, queries: [queries[0] - first * P, queries[1] - first * P] as const })); // prettier-ignore
    return magiForward(
      params,
      {
        x: cut(x, first * c, chunks * c),
        t: cut(file.tensor('t'), first, chunks),
        frames: tf.range(first * c, end * c, 1, 'float32'),
        texts: [{ chunks, features: cut(features, first, chunks), mask: cut(mask, first, chunks) }],
        textOn: tf.fill([B, chunks], on),
      },
      attendSlices(own, caches),
      config,
    );
  };
  const before = call(0, prefix, []);
  check(official(before.v), 'v_prefix_call');
  const layers = before.keys.map((keys, i) => tf.concat([byToken(keys), byToken(before.values[i]!)], 2)); // [T, nk, K then V]
  check(tf.stack(layers), 'kv_cache_after_prefix');
  const caches = Array.from({ length: prefix }, (_, chunk) => cacheOf(before, chunk, P));
  check(official(call(prefix, M, caches).v), 'v_second_call');
  check(official(call(0, M, []).v), 'v_joint');
  return 4;
}

export function trainingGradients(file: GoldenFile, all: Golden): number {
  const { config, params } = networkOf(file, all);
  const [x, e] = [video(file.tensor('x1')), video(file.tensor('x0'))];
  const M = Number(file.setting('chunks'));
  const P = (x.shape[1]! / M) * (x.shape[2]! / config.patch[0]) * (x.shape[3]! / config.patch[1]);
  const clean = tf.reshape(tf.cast(file.tensor('clean_mask'), 'float32'), [1, M]);
  const attend = attendSlices(slicesOf(file, P));
  const { loss, aux, grads } = valueAndGrad(
    (at: Tree) => {
      const weights = at as unknown as typeof params;
      const text = dropText(weights.y_embedder, textsOf(file), clean, config.nullTokens);
      const network = (z: Tensor, t: Tensor): Tensor =>
        magiForward(weights, { x: z, t, texts: [{ chunks: M, ...text }], textOn: tf.ones([1, M]) }, attend, config).v;
      const out = chunkLoss(network, { x, e, t: file.tensor('t'), clean });
      return { loss: out.loss, aux: { perChunk: out.perChunk, z: out.z, v: out.v } };
    },
    params as unknown as Tree,
  );
  const parts = aux as { perChunk: Tensor; z: Tensor; v: Tensor };
  expectClose(official(parts.z), file.host('x_t'), { abs: 1e-5 });
  expectClose(official(parts.v), file.host('v'), { abs: 1e-4 });
  expectClose(parts.perChunk.dataSync(), file.host('per_chunk_mse').data, { rel: 1e-5 });
  expectClose(loss.dataSync(), file.host('loss').data, { rel: 1e-5 });
  const found = flattenTree(grads);
  const names = file.keys('grad.');
  expect(Object.keys(found)).toHaveLength(names.length);
  for (const name of names) {
    const gradient = file.host(name);
    // A bias of the keys of a text moves all logits of a query alike: its gradient is 0, and what is stored is rounding.
    const zero = name.endsWith('k_layernorm_xattn.bias');
    expectClose(found[name.slice('grad.'.length)]!, gradient, zero ? { abs: 1e-7 } : { max: 1e-3 }, name);
  }
  return names.length + 4;
}
