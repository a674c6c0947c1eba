import { applyDiT, ditConfig, initDiT, type DiTParams } from '@atelier/nn';
import { compile, disposeTree, flattenTree, parseConfig, Rng, type Tensor, tf, toHostTree, treeMap, useEngine } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  applySwinDiT,
  initSwinDiT,
  swinDiTFromDiT,
  swinDiTFromStateDict,
  swinDiTLayers,
  swinDiTParameters,
  swinDiTSettings,
  parseSwinDiT,
  type SwinDiTParams,
  type SwinDiTSettings,
} from '../src/index.ts';
import { largest, randomParams, tiny } from './networks.ts';

let inputs: { t: Tensor; y: Tensor };
beforeAll(async () => {
  await useEngine();
  inputs = { t: tf.tensor1d([300, 0]), y: tf.tensor1d([2, 3], 'int32') };
});

const image = (name: string): Tensor => new Rng(name).child('x').normal([2, 8, 12, 3]);
const withAttention = (attention: SwinDiTSettings['attention'], more: Partial<SwinDiTSettings> = {}): SwinDiTSettings => ({
  ...tiny,
  attention,
  ...more,
});
/** Largest change of the output [B, H, W, C'] in each token: [h][w]. */
const changes = (a: Tensor, b: Tensor): number[][] => {
  const [B, H, W, C] = a.shape as [number, number, number, number];
  const difference = tf.reshape(tf.abs(tf.sub(a, b)), [B, H / 2, 2, W / 2, 2, C]);
  return tf.max(difference, [0, 2, 4, 5]).arraySync() as number[][];
};
/** x with other values in the token of row i and column j. */
function perturbed(x: Tensor, i: number, j: number): Tensor {
  const [B, H, W, C] = x.shape as [number, number, number, number];
  const bump = tf.pad(tf.ones([B, 2, 2, C]), [[0, 0], [2 * i, H - 2 * i - 2], [2 * j, W - 2 * j - 2], [0, 0]]); // prettier-ignore
  return tf.add(x, bump);
}

describe('applySwinDiT', () => {
  it('invariant 1: starts at exactly 0', () => {
    const params = initSwinDiT(new Rng('start'), tiny);
    expect(largest(applySwinDiT(params, image('start'), inputs, tiny))).toBe(0);
    const first = params.blocks[0]!.attn as { bridge: { weight: Tensor }; rel_pos_bias_table: Tensor };
    const centre = tf.slice(first.bridge.weight, [0, 0, 1, 1], [-1, 1, 1, 1]);
    expectClose(tf.mean(centre), [1], { abs: 0.05 });
    expect(largest(tf.sub(first.bridge.weight, tf.pad(centre, [[0, 0], [0, 0], [1, 1], [1, 1]])))).toBeGreaterThan(0); // prettier-ignore
    expect(largest(first.rel_pos_bias_table)).toBe(0);
  });

  it('invariant 2: is DiT where one window is the grid and all heads are window heads', () => {
    const square: SwinDiTSettings = { dit: tiny.dit, grid: [4, 4], window: 4, attention: 'window' };
    const config = parseConfig(ditConfig, tiny.dit, 'test');
    const dit = treeMap((leaf, path) => tf.mul(new Rng(path).normal(leaf.shape), 0.2), initDiT(new Rng('dit'), config));
    const x = new Rng('square').normal([2, 8, 8, 3]);
    const wanted = applyDiT(dit, x, inputs, config);
    expect(largest(wanted)).toBeGreaterThan(0.1);
    const same: SwinDiTSettings[] = [square, { ...square, window: 8 }, { ...square, attention: 'pswa', windowHeads: [4, 4, 4] }];
    for (const settings of same) expectClose(applySwinDiT(swinDiTFromDiT(dit, settings), x, inputs, settings), wanted, { max: 1e-5 });
    // Global layers are DiT's on any grid.
    const hybrid = withAttention('global');
    expectClose(
      applySwinDiT(swinDiTFromDiT(dit, hybrid), image('hybrid'), inputs, hybrid),
      applyDiT(dit, image('hybrid'), inputs, config),
      {},
    );
  });

  it('invariant 3: windows alone do not see each other at any depth', () => {
    const settings = withAttention('window');
    const params = randomParams(new Rng('isolated'), settings);
    const x = image('isolated');
    const [before, after] = [x, perturbed(x, 1, 3)].map((input) => applySwinDiT(params, input, inputs, settings));
    changes(before!, after!).forEach((row, i) =>
      row.forEach((change, j) => (i < 2 && j >= 2 && j < 4 ? expect(change).toBeGreaterThan(1e-4) : expect(change).toBe(0))),
    );
  });

  it.each([0, 2])('invariant 4: one block with %i window heads sees the kernel’s square and its window, no more', (a) => {
    const settings: SwinDiTSettings = { ...tiny, dit: { ...tiny.dit, depth: 1 }, windowHeads: [a], kernel: 3 };
    const params = randomParams(new Rng('support'), settings);
    const x = image('support');
    for (const [i, j] of [
      [1, 3],
      [0, 0],
      [3, 4],
    ] as const) {
      const [before, after] = [x, perturbed(x, i, j)].map((input) => applySwinDiT(params, input, inputs, settings));
      const windowOf = (k: number): number => Math.floor(k / 2);
      changes(before!, after!).forEach((row, k) =>
        row.forEach((change, l) => {
          const near = Math.abs(k - i) <= 1 && Math.abs(l - j) <= 1;
          const mates = a > 0 && windowOf(k) === windowOf(i) && windowOf(l) === windowOf(j);
          if (near || mates) expect(change).toBeGreaterThan(1e-5);
          else expect(change).toBe(0);
        }),
      );
    }
  });

  it('invariant 5: three PSWA blocks connect a grid of 2 x 2 windows, three of windows alone do not', () => {
    const gradientAtFarEnd = (settings: SwinDiTSettings): number => {
      const params = randomParams(new Rng('connected'), settings);
      const x = new Rng('connected').normal([1, 8, 8, 3]);
      const one = { t: tf.tensor1d([300]), y: tf.tensor1d([1], 'int32') };
      const corner = (input: Tensor): Tensor => tf.sum(tf.slice(applySwinDiT(params, input, one, settings), [0, 0, 0, 0], [1, 1, 1, 1]));
      return largest(tf.slice(tf.grad(corner)(x), [0, 6, 6, 0], [1, 2, 2, 3]));
    };
    const square: SwinDiTSettings = { ...tiny, grid: [4, 4], windowHeads: [2, 2, 2] };
    expect(gradientAtFarEnd(square)).toBeGreaterThan(1e-7);
    expect(gradientAtFarEnd({ ...square, windowHeads: [4, 4, 4] })).toBe(0);
  });

  it('mixes kinds of attention layer by layer', () => {
    const settings = withAttention(['window', 'shifted', 'global']);
    expect(
      swinDiTLayers(parseSwinDiT(settings, 'test')).map((layer) => (layer.kind === 'global' ? layer.kind : `${layer.kind} ${layer.shift}`)),
    ).toEqual(['window 0', 'shifted 1', 'global']);
    const params = randomParams(new Rng('hybrid'), settings);
    const x = image('hybrid');
    const [before, after] = [x, perturbed(x, 0, 0)].map((input) => applySwinDiT(params, input, inputs, settings));
    for (const change of changes(before!, after!).flat()) expect(change).toBeGreaterThan(0);
    // The ramp runs over the PSWA layers alone.
    const layers = swinDiTLayers(parseSwinDiT(withAttention(['pswa', 'global', 'pswa']), 'test'));
    expect(layers.map((layer) => (layer.kind === 'global' ? null : layer.windowHeads))).toEqual([1, null, 3]);
  });

  it('runs compiled without leaving tensors behind, on a batch cut into pieces too', async () => {
    const params = randomParams(new Rng('leak'), tiny);
    const run = compile((p: SwinDiTParams, x: Tensor, at: typeof inputs) => applySwinDiT(p, x, at, tiny));
    const x = image('leak');
    expectClose(run(params, x, inputs), applySwinDiT(params, x, inputs, tiny), { max: 1e-5 });
    await expectNoLeak(() => run(params, x, inputs));
    await expectNoLeak(() => initSwinDiT(new Rng('leak'), tiny));
    const dit = initDiT(new Rng('leak'), tiny.dit);
    await expectNoLeak(() => swinDiTFromDiT(dit, tiny));
    await expectNoLeak(() => tf.tidy(() => applySwinDiT(params, x, inputs, tiny)));
  });
});

describe('checkpoints', () => {
  const dit = (): DiTParams => treeMap((leaf, path) => new Rng(path).normal(leaf.shape), initDiT(new Rng('checkpoint'), tiny.dit));

  it('of a DiT: window heads keep queries and keys, all heads their values, bridges pass on', () => {
    const from = dit();
    const { blocks } = swinDiTFromDiT(from, tiny);
    const a = swinDiTLayers(parseSwinDiT(tiny, 'test')).map((layer) => (layer.kind === 'global' ? NaN : layer.windowHeads));
    expect(a).toEqual([1, 2, 3]);
    blocks.forEach(({ attn }, l) => {
      const Ca = 4 * a[l]!;
      const { weight, bias } = from.blocks[l]!.attn.qkv;
      const rows = (x: Tensor, first: number, count: number): Tensor => tf.slice(x, [first], [count]);
      expectClose(attn.qkv.weight, tf.concat([rows(weight, 0, Ca), rows(weight, 16, Ca), rows(weight, 32, 16)], 0));
      expectClose(attn.qkv.bias, tf.concat([rows(bias, 0, Ca), rows(bias, 16, Ca), rows(bias, 32, 16)], 0));
      expectClose(attn.proj.weight, from.blocks[l]!.attn.proj.weight);
    });
    const shapes = Object.fromEntries(Object.entries(flattenTree(swinDiTFromDiT(from, tiny))).map(([name, { shape }]) => [name, shape]));
    expect(shapes).toEqual(Object.fromEntries(Object.entries(swinDiTParameters(tiny)).map(([name, { shape }]) => [name, shape])));
    // The originals stay.
    expect(Object.values(flattenTree(from)).every((leaf) => !leaf.isDisposed)).toBe(true);
  });

  it('of a Swin DiT come back as they were', async () => {
    const params = randomParams(new Rng('written'), tiny);
    const back = swinDiTFromStateDict(await toHostTree(params), tiny);
    const [wanted, got] = [flattenTree(params), flattenTree(back)];
    expect(Object.keys(got)).toEqual(Object.keys(wanted));
    for (const [name, leaf] of Object.entries(wanted)) expectClose(got[name]!, leaf, {}, name);
    disposeTree(back);
  });

  it('of another shape are refused, and nothing is left behind', async () => {
    const [own, params] = [dit(), randomParams(new Rng('other'), tiny)];
    const host = await toHostTree(params);
    const before = tf.memory().numTensors;
    const wider = { ...tiny, dit: { ...tiny.dit, width: 32 } };
    expect(() => swinDiTFromDiT(own, wider)).toThrow(
      'swinDiTFromDiT: wanted the tensors of the model, got a state dict with misshapen x_embedder.proj.weight (wanted float32 [32, 3, 2, 2], got float32 [16, 3, 2, 2])',
    );
    const deeper = { ...tiny, dit: { ...tiny.dit, depth: 4 } };
    expect(() => swinDiTFromDiT(own, deeper)).toThrow(/^swinDiTFromDiT: .*missing blocks.3.attn.qkv.weight/);
    const shallower = { ...tiny, dit: { ...tiny.dit, depth: 2 } };
    expect(() => swinDiTFromDiT(own, shallower)).toThrow(/^swinDiTFromDiT: .*not of this model blocks.2.attn.qkv.weight/);
    expect(() => swinDiTFromStateDict(host, { ...tiny, windowHeads: [1, 2, 2] })).toThrow(
      /^swinDiTFromStateDict: .*misshapen .*blocks.2.attn.qkv.weight \(wanted float32 \[32, 16\], got float32 \[40, 16\]\)/,
    );
    expect(() => swinDiTFromStateDict(host, { ...tiny, windowHeads: [0, 2, 3] })).toThrow(
      /^swinDiTFromStateDict: .*not of this model .*blocks.0.attn.rel_pos_bias_table/,
    );
    expect(() => swinDiTFromStateDict(host, { ...tiny, windowHeads: [1, 2, 4] })).toThrow(
      /not of this model .*blocks.2.attn.bridge.weight/,
    );
    expect(() => swinDiTFromStateDict({}, tiny)).toThrow(
      'swinDiTFromStateDict: wanted the tensors of the model, got a state dict with missing x_embedder.proj.weight, x_embedder.proj.bias, ',
    );
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('what is refused', () => {
  it.each<[Partial<SwinDiTSettings>, string]>([
    [{ window: 3 }, "swinDiTLayers: window: wanted a common divisor of the grid's sides 4 and 6 (1, 2), got 3"],
    [{ window: 9 }, "swinDiTLayers: window: wanted a common divisor of the grid's sides 4 and 6 (1, 2), got 4"],
    [{ window: 0 }, 'swinDiTParameters: window: '],
    [{ dit: { ...tiny.dit, heads: 3 } }, 'swinDiTParameters: dit.heads: wanted a divisor of the width 16, got 3'],
    [{ pcca: { rho0: -0.1, rho1: 1 } }, 'swinDiTParameters: pcca.rho0: '],
    [{ pcca: { rho0: 0, rho1: 1.01 } }, 'swinDiTParameters: pcca.rho1: '],
    [{ kernel: 4 }, 'swinDiTParameters: kernel: wanted an odd number, got 4'],
    [{ windowHeads: [1, 2] }, 'swinDiTParameters: windowHeads: wanted a number for each of 3 PSWA layers, got 2'],
    [{ windowHeads: [1, 2, 5] }, 'swinDiTParameters: windowHeads: wanted at most the 4 heads of a layer, got 5'],
    [{ windowHeads: [1, 2, 3], pcca: { rho0: 0, rho1: 1 } }, 'swinDiTParameters: windowHeads: wanted window heads or pcca, got both'],
    [{ attention: ['pswa', 'window'] }, 'swinDiTParameters: attention: wanted one kind for each of 3 layers, got 2'],
    [{ attention: 'local' as never }, 'swinDiTParameters: attention: '],
  ])('%j', (more, wanted) => {
    expect(() => swinDiTParameters({ ...tiny, ...more })).toThrow(wanted);
  });

  it('an image of another grid, and parameters of another depth', () => {
    const params = randomParams(new Rng('refused'), tiny);
    const x = tf.zeros([2, 8, 8, 3]);
    expect(() => applySwinDiT(params, x, inputs, tiny)).toThrow('applySwinDiT: x: wanted a grid of 4 x 6 tokens, got 4 x 4');
    const short = { ...params, blocks: params.blocks.slice(1) };
    expect(() => applySwinDiT(short, image('refused'), inputs, tiny)).toThrow('applySwinDiT: params: wanted 3 blocks, got 2');
  });

  it('a size or an image that is none', () => {
    expect(() => swinDiTSettings('M/2' as never)).toThrow(/wanted S\/2, S\/4, .*XL\/8, got 'M\/2'/);
    expect(() => swinDiTSettings('L/2', { image: 260 })).toThrow('swinDiTSettings: image: wanted a multiple of 16, got 260');
  });
});
