import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  disposeTree,
  flattenTree,
  isTensor,
  tf,
  treeLeaves,
  treeMap,
  unflattenTree,
  useEngine,
  type Tensor,
  type Tree,
} from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

const model = (): { blocks: { weight: Tensor; bias: Tensor }[]; scale: Tensor } => ({
  blocks: [
    { weight: tf.tensor2d([[1, 2]]), bias: tf.tensor1d([3]) },
    { weight: tf.tensor2d([[4], [5]]), bias: tf.tensor1d([6]) },
  ],
  scale: tf.scalar(7),
});
const values = (tree: Tree): number[][] => treeLeaves(tree).map((leaf) => [...leaf.dataSync()]);

describe('treeMap', () => {
  it('keeps the structure and gives every leaf with its path', () => {
    const tree = model();
    const paths: string[] = [];
    const doubled = treeMap((leaf, path) => {
      paths.push(path);
      return tf.mul(leaf, 2);
    }, tree);
    expect(paths).toEqual(['blocks.0.weight', 'blocks.0.bias', 'blocks.1.weight', 'blocks.1.bias', 'scale']);
    expect(Array.isArray(doubled.blocks)).toBe(true);
    expect([doubled.blocks[1]!.weight.shape, doubled.scale.shape]).toEqual([[2, 1], []]);
    expect(values(doubled)).toEqual([[2, 4], [6], [8, 10], [12], [14]]);
    expect(values(tree)).toEqual([[1, 2], [3], [4, 5], [6], [7]]);
  });

  it('passes the leaves of further trees along, by path and not by order', () => {
    const [a, b] = [
      { x: tf.scalar(1), y: tf.scalar(2) },
      { y: tf.scalar(20), x: tf.scalar(10) },
    ];
    const sum = treeMap((leaf, _, second, third) => tf.sub(tf.add(leaf, second!), third!), a, b, a);
    expect([sum.x.dataSync()[0], sum.y.dataSync()[0]]).toEqual([10, 20]);
  });

  it('takes a list for a record of the same paths', () => {
    const [a, b] = [tf.scalar(1), tf.scalar(2)];
    expect(treeMap((_, path, other) => (expect(path).toBe('x.0'), other!), { x: [a] }, { x: { 0: b } })).toEqual({ x: [b] });
  });

  it('takes a single tensor, an empty group and a name that every object has', () => {
    expect(treeMap((leaf, path) => (expect(path).toBe(''), tf.neg(leaf)), tf.scalar(2)).dataSync()[0]).toBe(-2);
    expect(treeMap((leaf) => leaf, { none: {}, list: [] })).toEqual({ none: {}, list: [] });
    const odd = Object.fromEntries([
      ['__proto__', tf.scalar(1)],
      ['toString', tf.scalar(2)],
    ]);
    expect(Object.keys(treeMap((leaf) => leaf, odd))).toEqual(['__proto__', 'toString']);
  });

  const leaf = (): Tensor => tf.scalar(0);
  it.each<[string, () => unknown[], string]>([
    ['a number as leaf', () => [{ a: { b: 3 } }], "treeMap: at 'a.b' wanted a tensor, list or plain record, got number"],
    ['null', () => [null], "treeMap: at '' wanted a tensor, list or plain record, got null"],
    ['undefined in a list', () => [[leaf(), undefined]], "treeMap: at '1' wanted a tensor, list or plain record, got undefined"],
    ['a Map', () => [{ a: new Map() }], "treeMap: at 'a' wanted a tensor, list or plain record, got Map"],
    ['a typed array', () => [{ a: new Float32Array(2) }], "treeMap: at 'a' wanted a tensor, list or plain record, got Float32Array"],
    [
      'a leaf that is missing in another tree',
      () => [{ a: { b: leaf(), c: leaf() } }, { a: { b: leaf() } }],
      "treeMap: 'a.c' is missing in one of the trees",
    ],
    [
      'a leaf that only another tree has',
      () => [{ a: [leaf()] }, { a: [leaf(), leaf()] }],
      "treeMap: 'a.1' is missing in one of the trees",
    ],
    ['a name that is only inherited', () => [{ toString: leaf() }, {}], "treeMap: 'toString' is missing in one of the trees"],
    [
      'a group where another tree has a tensor',
      () => [{ a: [leaf()] }, { a: leaf() }],
      "treeMap: at 'a' wanted a list of 1 in every tree, got a tensor []",
    ],
    [
      'a tensor where another tree has a group',
      () => [{ a: leaf() }, { a: { b: leaf() } }],
      "treeMap: at 'a' wanted a tensor in every tree, got a record",
    ],
    ['nothing as another tree', () => [[leaf()], undefined], "treeMap: at '' wanted a list of 1 in every tree, got undefined"],
  ])('refuses %s', (_, trees, message) => {
    const [first, ...rest] = trees() as Tree[];
    expect(() => treeMap((x) => x, first!, ...rest)).toThrow(message);
  });
});

describe('flattenTree and unflattenTree', () => {
  it('name leaves by dotted path, in the order of treeMap', () => {
    const tree = model();
    const flat = flattenTree(tree);
    expect(Object.keys(flat)).toEqual(['blocks.0.weight', 'blocks.0.bias', 'blocks.1.weight', 'blocks.1.bias', 'scale']);
    expect(flat['blocks.1.bias']).toBe(tree.blocks[1]!.bias);
    expect(treeLeaves(tree)).toEqual(Object.values(flat));
    expect(treeLeaves(tree)[4]).toBe(tree.scale);
  });

  it('are inverse for any tree without empty groups', () => {
    const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
      tree: fc.oneof(
        { depthSize: 'small', withCrossShrink: true },
        fc.integer().map((v): Tree => tf.scalar(v)),
        fc.array(tie('tree'), { minLength: 1, maxLength: 12 }),
        // A record with the keys 0 … n-1 is a list by definition, so records here have another name.
        fc.dictionary(fc.stringMatching(/^[a-z_]{1,9}$/), tie('tree'), { minKeys: 1, maxKeys: 4 }),
      ),
    }));
    fc.assert(
      fc.property(tree, (original) => {
        const again = unflattenTree(flattenTree(original));
        // The same tensors in the same places; treeMap refuses any difference in structure.
        treeMap((leaf, _, other) => (expect(other).toBe(leaf), leaf), original, again);
        expect(Object.keys(flattenTree(again))).toEqual(Object.keys(flattenTree(original)));
        disposeTree(original);
      }),
      { numRuns: 100 },
    );
  });

  it('make lists of 0 … n-1 only, in any order', () => {
    const [a, b] = [tf.scalar(1), tf.scalar(2)];
    expect(unflattenTree({ 'x.1': b, 'x.0': a })).toEqual({ x: [a, b] });
    expect(Array.isArray((unflattenTree({ 'x.0': a, 'x.2': b }) as { x: Tree }).x)).toBe(false);
    expect(Array.isArray((unflattenTree({ 'x.00': a, 'x.1': b }) as { x: Tree }).x)).toBe(false);
    expect((unflattenTree({ '0': a }) as Tree[])[0]).toBe(a);
    expect(unflattenTree({})).toEqual({});
  });

  it('refuse names that are a tensor and a group, in either order, and names that are none', () => {
    const x = tf.scalar(1);
    expect(() => unflattenTree({ 'a.b': x, 'a.b.c.d': x })).toThrow("unflattenTree: wanted 'a.b' as tensor or as group, got both");
    expect(() => unflattenTree({ 'a.b.c': x, 'a.b': x })).toThrow("unflattenTree: wanted 'a.b' as tensor or as group, got both");
    for (const name of ['a..b', '.a', 'a.'])
      expect(() => unflattenTree({ [name]: x })).toThrow(`wanted names like 'a.b' without empty parts, got '${name}'`);
    expect(() => unflattenTree({ '': x, a: x })).toThrow("without empty parts, got ''");
    expect(() => unflattenTree({ a: 3 as never })).toThrow("unflattenTree: wanted a tensor as 'a', got number");
    expect(() => flattenTree({ 'a.b': x, a: { b: x } })).toThrow("flattenTree: wanted every path once, got 'a.b' twice");
  });
});

describe('disposeTree', () => {
  it('disposes every leaf and nothing else', () => {
    const before = tf.memory().numTensors;
    const other = tf.scalar(1);
    const tree = model();
    expect(tf.memory().numTensors).toBe(before + 6);
    disposeTree(tree);
    expect(tf.memory().numTensors).toBe(before + 1);
    expect([tree.scale.isDisposed, other.isDisposed]).toEqual([true, false]);
  });
});

describe('isTensor', () => {
  it('is true for tensors and variables only', () => {
    expect([tf.scalar(1), tf.variable(tf.scalar(1))].map(isTensor)).toEqual([true, true]);
    expect([undefined, null, 1, [], {}, { shape: [], dtype: 'float32' }, new Float32Array(1)].map(isTensor)).toEqual(
      new Array(7).fill(false),
    );
  });
});
