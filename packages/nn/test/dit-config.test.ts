import { flattenTree, Rng, treeMap, useEngine, type Tree } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  ditMacs,
  ditNames,
  ditParameterCount,
  ditParameters,
  ditSizes,
  initDiT,
  officialDiTConfig,
  parameterCount,
  type DiTSettings,
} from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

const settings = { inChannels: 3, patchSize: 2, width: 8, depth: 2, heads: 2, mlpRatio: 2, frequencySize: 6 } satisfies DiTSettings;

describe('parameters', () => {
  it.each([
    ['B', 4, 131_165_248],
    ['B', 2, 131_091_472],
    ['M', 2, 308_019_216],
    ['L', 2, 459_137_040],
    ['XL', 2, 676_440_592],
  ] as const)('MeanFlow %s/%i has %i', (size, patchSize, count) => {
    expect(ditParameterCount({ inChannels: 4, patchSize, ...ditSizes[size], numClasses: 1000, interval: true })).toBe(count);
  });

  it.each([
    ['S', 32_963_360],
    ['B', 130_512_416],
    ['L', 458_102_816],
    ['XL', 675_129_632],
  ] as const)('DiT-%s/2 has %i with its position table of 256 tokens', (size, count) => {
    const trained = ditParameterCount({ inChannels: 4, patchSize: 2, ...ditSizes[size], numClasses: 1000, learnSigma: true });
    expect(trained + 256 * ditSizes[size].width).toBe(count);
  });

  it('follow from the name of a published network', () => {
    expect(ditNames).toHaveLength(12);
    expect(officialDiTConfig('XL/2')).toMatchObject({ depth: 28, width: 1152, heads: 16, patchSize: 2, inChannels: 4, numClasses: 1000 });
    expect(officialDiTConfig('S/8', { inChannels: 1, numClasses: 0, learnSigma: false })).toMatchObject({
      depth: 12,
      patchSize: 8,
      inChannels: 1,
      numClasses: 0,
      learnSigma: false,
    });
    expect(() => officialDiTConfig('M/2' as never)).toThrow(/officialDiTConfig: size: wanted S\/2, S\/4, .*XL\/8, got 'M\/2'/);
    expect(() => officialDiTConfig('S/2', { inChannels: 0 })).toThrow('officialDiTConfig: inChannels: ');
  });

  it('have the official shapes and initial values: bounds and zeros', () => {
    const of = { ...settings, width: 64, interval: true, numClasses: 200, frequencySize: 256 };
    const leaves = flattenTree(initDiT(new Rng(2), of));
    const table = ditParameters(of);
    expect(Object.keys(leaves)).toEqual(Object.keys(table));
    expect(Object.values(leaves).reduce((sum, leaf) => sum + leaf.size, 0)).toBe(parameterCount(table));
    const extent = (name: string): number => Math.max(...leaves[name]!.dataSync().map(Math.abs));
    const std = (name: string): number =>
      Math.sqrt(Array.from(leaves[name]!.dataSync()).reduce((sum, v) => sum + v * v, 0) / leaves[name]!.size);
    // Xavier-uniform on the actual shapes: the fused qkv is one [3D, D] matrix, the patch convolution its [D, C·P²] view.
    for (const [name, fans] of [
      ['x_embedder.proj.weight', 64 + 12],
      ['blocks.0.attn.qkv.weight', 4 * 64],
      ['blocks.1.attn.proj.weight', 2 * 64],
      ['blocks.1.mlp.fc1.weight', 64 + 128],
      ['blocks.0.mlp.fc2.weight', 64 + 128],
    ] as const) {
      const bound = Math.sqrt(6 / fans);
      expect(extent(name), name).toBeLessThanOrEqual(bound * (1 + 1e-6));
      expect(extent(name), name).toBeGreaterThan(0.98 * bound);
    }
    for (const name of ['t_embedder.mlp.0.weight', 'h_embedder.mlp.2.weight', 'y_embedder.embedding_table.weight']) {
      expect(Math.abs(std(name) / 0.02 - 1), name).toBeLessThan(4 / Math.sqrt(2 * leaves[name]!.size));
    }
    for (const name of Object.keys(leaves)) {
      if (name.endsWith('.bias') || name.includes('adaLN') || name.startsWith('final_layer')) expect(extent(name), name).toBe(0);
    }
    expect(leaves['y_embedder.embedding_table.weight']!.shape).toEqual([201, 64]);
    expect(ditParameters({ ...of, nullClass: false })['y_embedder.embedding_table.weight']!.shape).toEqual([200, 64]);
  });

  it('are drawn by name: a deeper network shares its first blocks', () => {
    const [shallow, deep] = [initDiT(new Rng(3), settings), initDiT(new Rng(3), { ...settings, depth: 3 })];
    treeMap(
      (leaf, _, other) => {
        expectClose(leaf, other!);
        return leaf;
      },
      shallow.blocks as Tree,
      { ...deep.blocks.slice(0, 2) } as unknown as Tree,
    );
    expect(initDiT(new Rng(4), settings).x_embedder.proj.weight.dataSync()[0]).not.toBe(shallow.x_embedder.proj.weight.dataSync()[0]);
  });
});

describe('ditMacs', () => {
  it.each([
    ['XL/2', 32, 118_621_421_568],
    ['S/2', 32, 6_055_673_856],
  ] as const)('%s at %i × %i latents', (name, side, total) => {
    expect(ditMacs(officialDiTConfig(name), { H: side, W: side }).total).toBe(total);
  });

  it.each([
    ['S/2', 6.06, 31.44],
    ['B/2', 23.01, 106.38],
    ['L/2', 80.7, 360.98],
    ['XL/2', 118.62, 524.54],
  ] as const)("%s has the table's giga-MACs for 256 and 512 pixels", (name, small, large) => {
    const giga = (side: number): number => Number((ditMacs(officialDiTConfig(name), { H: side, W: side }).total / 1e9).toFixed(2));
    expect([giga(32), giga(64)]).toEqual([small, large]);
  });

  it('equals the sum of all products of a small network, counted one by one', () => {
    // T = 2·3 tokens of width 8, hidden 16, from images of 4 × 6 × 3, with two embedders of 6 features.
    const of = { ...settings, interval: true, learnSigma: true };
    const T = 6;
    const [qkv, logits, sums, proj, mlp, adaLN] = [T * 8 * 24, T * T * 8, T * T * 8, T * 8 * 8, 2 * T * 8 * 16, 8 * 48];
    const block = qkv + logits + sums + proj + mlp + adaLN;
    const outside = T * 12 * 8 + T * 8 * (4 * 6) + 8 * 16 + 2 * (6 * 8 + 8 * 8);
    expect(ditMacs(of, { H: 4, W: 6 })).toEqual({ block, outside, total: 2 * block + outside });
  });

  it('refuses what does not fit', () => {
    expect(() => ditMacs(settings, { H: 4, W: 5 })).toThrow('ditMacs: W: wanted a multiple of the patch size 2, got 5');
    expect(() => ditMacs(settings, { H: 0, W: 4 })).toThrow('ditMacs: H: wanted an integer at least 1, got 0');
    expect(() => ditMacs({ ...settings, heads: 3 }, { H: 4, W: 4 })).toThrow('ditMacs: heads: wanted a divisor');
  });
});
