import { attention } from '@atelier/nn';
import { compile, Rng, tf, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { everyEngine, testOn } from '@atelier/testkit/vitest';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  fineStage,
  fromTiles,
  selectTiles,
  selectionMask,
  tileLayout,
  tilesOfTokens,
  toTiles,
  vsaAttention,
  vsaPacked,
  vsaStages,
  type Grid,
  type VsaOptions,
} from '../src/index.ts';

type Inputs = { q: Tensor; k: Tensor; v: Tensor; gate: Tensor };

/** Standard normal inputs [B, K, T, d] of a grid. */
function draw(seed: number, grid: Grid, { B = 2, K = 2, d = 4, size = 1 } = {}): Inputs {
  const rng = new Rng(seed);
  const shape = [B, K, grid[0] * grid[1] * grid[2], d];
  const one = (name: string): Tensor => tf.mul(rng.child(name).normal(shape), size);
  return { q: one('q'), k: one('k'), v: rng.child('v').normal(shape), gate: rng.child('gate').normal(shape) };
}

const gradients = (inputs: Inputs, run: (at: Inputs) => Tensor, change: Tensor): Inputs =>
  valueAndGrad((at: Inputs) => ({ loss: tf.sum(tf.mul(run(at), change)), aux: {} }), inputs).grads;

const withGate =
  (options: VsaOptions) =>
  (at: Inputs): Tensor =>
    vsaAttention(at.q, at.k, at.v, { ...options, gate: at.gate });

/** With a gate of zero: the same as dense attention with a mask, in value and gradients. */
function expectMasked(inputs: Inputs, options: VsaOptions, change: Tensor, max: number): void {
  const { lists, layout } = vsaStages(inputs.q, inputs.k, inputs.v, options);
  const tiles = tilesOfTokens(layout);
  const mask = tf.cast(tf.gather(tf.gather(selectionMask(lists, layout.tiles), tiles, 2), tiles, 3), 'bool');
  const dense = (at: Inputs): Tensor => attention(at.q, at.k, at.v, { mask });
  expectClose(withGate(options)(inputs), dense(inputs), { max });
  const [found, wanted] = [gradients(inputs, withGate(options), change), gradients(inputs, dense, change)];
  for (const name of ['q', 'k', 'v'] as const) expectClose(found[name], wanted[name], { max, abs: 1e-6 }, `d${name}`);
}

/** Small grids, most of which the tile does not divide. */
const grids = fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 6 }));
const seeds = fc.integer({ min: 0, max: 2 ** 31 - 1 });
const tile: Grid = [2, 3, 2];

everyEngine((engine) => {
  describe('vsaAttention', () => {
    it('is dense attention, in value and gradients, with all tiles and a gate of zero, on any grid', () => {
      fc.assert(
        fc.property(grids, seeds, (grid, seed) =>
          tf.tidy(() => {
            const drawn = draw(seed, grid);
            const inputs = { ...drawn, gate: tf.zerosLike(drawn.gate) };
            const change = new Rng(seed).child('change').normal(drawn.q.shape);
            const run = withGate({ grid, tile, keep: tileLayout(grid, tile).tiles });
            expectClose(run(inputs), attention(inputs.q, inputs.k, inputs.v), { max: 1e-5 });
            const found = gradients(inputs, run, change);
            const wanted = gradients(inputs, (at) => attention(at.q, at.k, at.v), change);
            for (const name of ['q', 'k', 'v'] as const) expectClose(found[name], wanted[name], { max: 1e-5, abs: 1e-6 }, `d${name}`);
          }),
        ),
        { numRuns: engine.fast ? 8 : 3 },
      );
    });

    it('is dense attention in which a token sees only the selected tiles, in value and gradients, on any grid', () => {
      fc.assert(
        fc.property(grids, seeds, (grid, seed) =>
          tf.tidy(() => {
            const drawn = draw(seed, grid);
            const inputs = { ...drawn, gate: tf.zerosLike(drawn.gate) };
            const change = new Rng(seed).child('change').normal(drawn.q.shape);
            expectMasked(inputs, { grid, tile, keep: Math.ceil(tileLayout(grid, tile).tiles / 2) }, change, 1e-5);
          }),
        ),
        // With one tile of this grid, tokens in tiles have the order that they have in the video.
        { numRuns: engine.fast ? 8 : 3, examples: [[[2, 3, 2], 0]] },
      );
    });

    it('is twice dense attention with tiles of one token, all of them, and no gate', () => {
      tf.tidy(() => {
        const grid: Grid = [2, 3, 2];
        const { q, k, v } = draw(1, grid);
        expectClose(vsaAttention(q, k, v, { grid, tile: [1, 1, 1], keep: 12 }), tf.mul(attention(q, k, v), 2), { max: 1e-5 });
      });
    });

    it('keeps the sums of gradients: of values Σ dv = Σ dO(1 + G), of keys Σ dk = 0', () => {
      fc.assert(
        fc.property(grids, seeds, (grid, seed) =>
          tf.tidy(() => {
            const inputs = draw(seed, grid);
            const change = new Rng(seed).child('change').normal(inputs.q.shape);
            const { tiles } = tileLayout(grid, tile);
            const { k, v } = gradients(inputs, withGate({ grid, tile, keep: Math.ceil(tiles / 2) }), change);
            expectClose(tf.sum(v, 2), tf.sum(tf.mul(change, tf.add(inputs.gate, 1)), 2), { max: 1e-5, abs: 1e-5 });
            const scale = Math.max(1, tf.max(tf.sum(tf.abs(k), 2)).dataSync()[0]!);
            expectClose(tf.sum(k, 2), tf.zeros([2, 2, 4]), { abs: 3e-6 * scale });
          }),
        ),
        { numRuns: engine.fast ? 8 : 3 },
      );
    });

    it('does not change when a vector is added to all keys, and returns means of selected values', () => {
      tf.tidy(() => {
        const grid: Grid = [3, 4, 5];
        const { q, k, v } = draw(3, grid);
        const options = { grid, tile, keep: 3 };
        const [plain, moved] = [k, tf.add(k, tf.tensor1d([1, -2, 0.5, 1]))].map((keys) => vsaStages(q, keys, v, options));
        expectClose(moved!.out, plain!.out, { max: 2e-5 });
        expect([...moved!.lists.dataSync()]).toEqual([...plain!.lists.dataSync()]);
        const fine = fromTiles(plain!.fine, plain!.layout).dataSync();
        expect(Math.max(...fine)).toBeLessThanOrEqual(Math.max(...v.dataSync()) + 1e-6);
      });
    });

    it('with values that are constant within tiles weighs tokens in the fine stage and tiles in the coarse one', () => {
      tf.tidy(() => {
        const grid: Grid = [3, 4, 3];
        const layout = tileLayout(grid, tile);
        const constant = (x: Tensor): Tensor => {
          const tiles = toTiles(x, layout);
          return fromTiles(tf.tile(tf.slice(tiles, [0, 0, 0, 0, 0], [2, 2, -1, 1, -1]), [1, 1, 1, layout.volume, 1]), layout);
        };
        const drawn = draw(4, grid);
        const stages = vsaStages(constant(drawn.q), constant(drawn.k), constant(drawn.v), { grid, tile, keep: layout.tiles });
        const weights = tf.softmax(tf.add(stages.scores, tf.log(tf.tensor1d(Float32Array.from(layout.sizes)))));
        const wanted = tf.matMul(weights, stages.pooled.v);
        expectClose(tf.squeeze(tf.slice(stages.fine, [0, 0, 0, 0, 0], [2, 2, -1, 1, -1]), [3]), wanted, { max: 1e-5 });
        expectClose(stages.coarse, tf.matMul(tf.softmax(stages.scores), stages.pooled.v), { max: 1e-6 });
      });
    });

    it('moves with a roll of whole tiles', () => {
      tf.tidy(() => {
        const grid: Grid = [4, 6, 4];
        const { q, k, v } = draw(5, grid);
        const roll = (x: Tensor): Tensor => {
          const video = tf.reshape(x, [2, 2, ...grid, 4]);
          const [upper, lower] = tf.split(video, [3, 3], 3);
          return tf.reshape(tf.concat([lower!, upper!], 3), x.shape);
        };
        const options = { grid, tile, keep: 3 };
        expectClose(vsaAttention(roll(q), roll(k), roll(v), options), roll(vsaAttention(q, k, v, options)), { max: 1e-6 });
      });
    });

    it('gives no gradient of the fine stage to a tile that is not selected', () => {
      tf.tidy(() => {
        const grid: Grid = [2, 3, 8];
        const drawn = draw(6, grid);
        const choose = (scores: Tensor, keep: number): Tensor =>
          tf.tile(tf.tensor([0, 2], [1, 1, 1, keep], 'int32'), [2, 2, scores.shape[2]!, 1]);
        const unselected = (x: Tensor, layout = tileLayout(grid, tile)): Tensor =>
          tf.slice(toTiles(x, layout), [0, 0, 1, 0, 0], [2, 2, 1, -1, -1]);
        const change = new Rng('change').normal(drawn.q.shape);
        const run = (gate: (at: Inputs) => Tensor) =>
          gradients(drawn, (at) => vsaAttention(at.q, at.k, at.v, { grid, tile, keep: 2, choose, gate: gate(at) }), change);
        const closed = run(({ gate }) => tf.zerosLike(gate));
        const open = run(({ gate }) => gate);
        for (const name of ['k', 'v'] as const) {
          expect(
            unselected(closed[name])
              .dataSync()
              .every((x) => x === 0),
          ).toBe(true);
          expect(
            unselected(open[name])
              .dataSync()
              .some((x) => x !== 0),
          ).toBe(true);
        }
      });
    });

    it('lets all queries see the tokens before the video, and these see all, in value and gradients, on any grid', () => {
      fc.assert(
        fc.property(grids, fc.integer({ min: 1, max: 30 }), seeds, (grid, prefix, seed) =>
          tf.tidy(() => {
            const rng = new Rng(seed);
            const layout = tileLayout(grid, tile);
            const shape = [1, 2, prefix + layout.tokens, 4];
            const [q, k, v, change] = ['q', 'k', 'v', 'change'].map((name) => rng.child(name).normal(shape)) as [
              Tensor,
              Tensor,
              Tensor,
              Tensor,
            ];
            const inputs = { q, k, v, gate: tf.zerosLike(q) };
            const options = { grid, tile, keep: Math.ceil(layout.tiles / 2), prefix };
            const { lists } = vsaStages(q, k, v, options);
            const tiles = tilesOfTokens(layout);
            const seen = tf.gather(tf.gather(selectionMask(lists, layout.tiles), tiles, 2), tiles, 3);
            const mask = tf.cast(tf.pad(seen, [[0, 0], [0, 0], [prefix, 0], [prefix, 0]], 1), 'bool'); // prettier-ignore
            const dense = (at: Inputs): Tensor => attention(at.q, at.k, at.v, { mask });
            expectClose(withGate(options)(inputs), dense(inputs), { max: 1e-5 });
            const [found, wanted] = [gradients(inputs, withGate(options), change), gradients(inputs, dense, change)];
            for (const name of ['q', 'k', 'v'] as const) expectClose(found[name], wanted[name], { max: 1e-5, abs: 1e-6 }, `d${name}`);
          }),
        ),
        { numRuns: engine.fast ? 6 : 2 },
      );
    });

    it('packed, gives each video what it gives it alone', () => {
      tf.tidy(() => {
        const parts = ([[2, 3, 4], [3, 4, 5]] as Grid[]).map((grid, i) => ({ grid, ...draw(20 + i, grid) })); // prettier-ignore
        const packed = (name: 'q' | 'k' | 'v' | 'gate'): Tensor => tf.concat(parts.map((part) => part[name]), 2); // prettier-ignore
        const grids = parts.map(({ grid }) => grid);
        const out = vsaPacked(packed('q'), packed('k'), packed('v'), { grids, tile, sparsity: 0.5, gate: packed('gate') });
        const alone = parts.map(({ grid, q, k, v, gate }) => vsaAttention(q, k, v, { grid, tile, sparsity: 0.5, gate }));
        expectClose(out, tf.concat(alone, 2), { max: 1e-6 });
      });
    });

    it('takes a gate of the fine output, and other choices of tiles', () => {
      tf.tidy(() => {
        const grid: Grid = [2, 3, 4];
        const { q, k, v, gate } = draw(7, grid);
        const options = { grid, tile, keep: 1 };
        const zero = tf.zerosLike(gate);
        const fine = vsaAttention(q, k, v, { ...options, gate: zero });
        expectClose(vsaAttention(q, k, v, { ...options, gate: zero, fineGate: gate }), tf.mul(fine, gate), { max: 1e-6 });
        const worst = vsaStages(q, k, v, { ...options, choose: (scores, keep) => selectTiles(tf.neg(scores), keep) });
        const mask = selectionMask(worst.lists, 2);
        expectClose(mask, tf.cast(tf.equal(worst.scores, tf.min(worst.scores, 3, true)), 'int32'));
      });
    });

    it('stays finite and exact with large logits', () => {
      tf.tidy(() => {
        const grid: Grid = [3, 4, 5];
        const inputs = draw(8, grid, { size: 10 });
        const closed = { ...inputs, gate: tf.zerosLike(inputs.gate) };
        expectMasked(closed, { grid, tile, keep: 4 }, new Rng('change').normal(inputs.q.shape), 1e-4);
      });
    });

    it('gives NaN, and not a number without a meaning, for scores that are not finite', () => {
      tf.tidy(() => {
        const grid: Grid = [2, 3, 4];
        const { q, k, v } = draw(9, grid);
        const bad = tf.concat([tf.fill([2, 2, 1, 4], NaN), tf.slice(k, [0, 0, 1, 0], [2, 2, -1, -1])], 2);
        expect(vsaAttention(q, bad, v, { grid, tile, keep: 1 }).dataSync().every(Number.isNaN)).toBe(true);
      });
    });

    it('keeps no tensor, also compiled, and gives the same compiled', async () => {
      const grid: Grid = [3, 4, 5];
      const inputs = draw(10, grid);
      const step = compile((at: Inputs) => gradients(at, withGate({ grid, tile, keep: 2 }), at.v));
      const eager = tf.tidy(() => gradients(inputs, withGate({ grid, tile, keep: 2 }), inputs.v));
      const compiled = step(inputs);
      for (const name of ['q', 'k', 'v', 'gate'] as const) expectClose(compiled[name], eager[name], { max: 1e-5 });
      await expectNoLeak(() => tf.dispose(step(inputs) as unknown as tf.TensorContainer));
    });
  });

  describe('fineStage', () => {
    it('does not read slots without a token: other numbers there change nothing', () => {
      tf.tidy(() => {
        const sizes = Int32Array.from([4, 2, 1]);
        const rng = new Rng('poison');
        const [q, k, v] = ['q', 'k', 'v'].map((name) => rng.child(name).normal([1, 1, 3, 4, 5])) as [Tensor, Tensor, Tensor];
        const lists = tf.tensor([0, 1, 1, 2, 0, 2], [1, 1, 3, 2], 'int32');
        const real = tf.tensor([1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0], [1, 1, 3, 4, 1]);
        const poisoned = (x: Tensor): Tensor => tf.add(tf.mul(x, real), tf.mul(tf.sub(1, real), 1e3));
        const plain = fineStage(q, tf.mul(k, real), tf.mul(v, real), lists, sizes);
        expect([...fineStage(q, poisoned(k), poisoned(v), lists, sizes).dataSync()]).toEqual([...plain.dataSync()]);
      });
    });

    testOn(engine, 'gives the same for lists in another order', {}, () => {
      tf.tidy(() => {
        const rng = new Rng('order');
        const tiles = ['q', 'k', 'v'].map((name) => rng.child(name).normal([1, 2, 9, 4, 5])) as [Tensor, Tensor, Tensor];
        const sizes = new Int32Array(9).fill(4);
        const rows = Array.from({ length: 18 }, (_, i) => [...rng.child(i).permutation(9).slice(0, 5)]);
        const run = (order: number[][]) => {
          const lists = tf.tensor(order.flat(), [1, 2, 9, 5], 'int32');
          return valueAndGrad((at: { q: Tensor; k: Tensor; v: Tensor }) => ({ loss: tf.sum(tf.square(fineStage(at.q, at.k, at.v, lists, sizes))), aux: {} }), { q: tiles[0], k: tiles[1], v: tiles[2] }).grads; // prettier-ignore
        };
        const [one, other] = [run(rows), run(rows.map((row) => [...row].reverse()))];
        for (const name of ['q', 'k', 'v'] as const) expectClose(other[name], one[name], { max: 2e-6 });
      });
    });
  });
});
