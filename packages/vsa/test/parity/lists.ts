import { tf, toTensor, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import { expect } from 'vitest';
import { fineStage, keepFor, selectionMask, selectTiles } from '../../src/index.ts';

/** Choices of the K best tiles, also among equal scores, and the table of K by sparsity and number of tiles; all exact. */
export function choices(file: GoldenFile): number {
  let cases = 0;
  for (const kind of ['', '_ties']) {
    const scores = file.tensor(`scores${kind}`);
    const m = scores.shape[3]!;
    for (const key of file.keys(`mask${kind}_k`)) {
      // The official kernel takes all tiles where more are asked for.
      const keep = Math.min(m, Number(/_k(\d+)$/.exec(key)![1]));
      expectClose(selectionMask(selectTiles(scores, keep), m), file.host(key), {}, key);
      cases++;
    }
  }
  const tiles = [...file.host('topk_table_N').data];
  const sparsities = file.metadata['topk_table_sparsity']!.split(',').map(Number);
  const table = sparsities.flatMap((sparsity) => tiles.map((n) => keepFor(sparsity, n)));
  expect(table).toEqual([...file.host('topk_table').data]);
  return cases + table.length;
}

/**
 * The fine stage with given lists. In the file they have different lengths, which a choice of the K best never has: each query tile is compared
 * alone, and the gradients to keys and values are added up.
 */
export function fineLists(file: GoldenFile): number {
  const block = Number(file.setting('block'));
  const tiled = (name: string) => {
    const { shape } = file.host(name);
    return tf.reshape(file.tensor(name), [shape[0]!, shape[1]!, shape[2]! / block, block, shape[3]!]);
  };
  const [q, k, v, dout] = [tiled('q'), tiled('k'), tiled('v'), tiled('dout')];
  const sizes = file.host('kv_block_sizes').data as Int32Array;
  const counts = file.host('q2k_num').data;
  const listed = toTensor(file.host('q2k_idx'));
  const [B, K, n, E, d] = q.shape as [number, number, number, number, number];
  const sums = { dk: tf.zerosLike(k), dv: tf.zerosLike(v) };
  const rows: { o: Tensor; dq: Tensor }[] = [];
  for (let b = 0; b < B; b++)
    for (let h = 0; h < K; h++) {
      const keys = { k: tf.slice(k, [b, h, 0, 0, 0], [1, 1, -1, E, d]), v: tf.slice(v, [b, h, 0, 0, 0], [1, 1, -1, E, -1]) };
      const place = (x: Tensor): Tensor => tf.pad(x, [[b, B - 1 - b], [h, K - 1 - h], ...Array(3).fill([0, 0])]); // prettier-ignore
      for (let i = 0; i < n; i++) {
        const lists = tf.slice(listed, [b, h, i, 0], [1, 1, 1, counts[(b * K + h) * n + i]!]);
        const at = [b, h, i, 0, 0];
        const change = tf.slice(dout, at, [1, 1, 1, E, -1]);
        const { aux, grads } = valueAndGrad(
          (x: { q: Tensor; k: Tensor; v: Tensor }) => {
            const o = fineStage(x.q, x.k, x.v, lists, sizes);
            return { loss: tf.sum(tf.mul(o, change)), aux: { o } };
          },
          { q: tf.slice(q, at, [1, 1, 1, E, d]), ...keys },
        );
        rows.push({ o: aux.o, dq: grads.q });
        sums.dk = tf.add(sums.dk, place(grads.k));
        sums.dv = tf.add(sums.dv, place(grads.v));
      }
    }
  const found = {
    ...sums,
    o: tf.reshape(tf.concat(rows.map(({ o }) => o), 0), [B, K, n * E, -1]), // prettier-ignore
    dq: tf.reshape(tf.concat(rows.map(({ dq }) => dq), 0), [B, K, n * E, d]), // prettier-ignore
  };
  for (const [name, x] of Object.entries(found)) {
    const wanted = file.host(name);
    expectClose(tf.reshape(x, wanted.shape), wanted, { max: 1e-5 }, `${file.name}: ${name}`);
  }
  return rows.length;
}
