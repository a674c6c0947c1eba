import { existsSync } from 'node:fs';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { compile } from '../src/compile.ts';
import { engineName, useEngine } from '../src/engine.ts';
import { profile } from '../src/profile.ts';
import { tf, type Tensor } from '../src/tf.ts';
import { disposeTree, type Tree } from '../src/tree.ts';

const values = (x: Tensor): number[] => Array.from(x.dataSync());

/** Optional, and then an engine like the others. */
const tensorflow = await useEngine('tensorflow').then(
  () => true,
  () => false,
);

describe.each(['ort', 'cpu', ...(tensorflow ? ['tensorflow'] : [])])('compile on %s', (engine) => {
  beforeEach(() => useEngine(engine));

  it('gives what the function gives, for trees in and out', () => {
    const f = (p: { w: Tensor; list: Tensor[] }, x: Tensor): { y: Tensor; parts: Tensor[] } => ({
      y: tf.matMul(x, p.w),
      parts: p.list.map((v) => tf.add(v, x)),
    });
    const args: [{ w: Tensor; list: Tensor[] }, Tensor] = [
      { w: tf.tensor2d([1, 2, 3, 4], [2, 2]), list: [tf.scalar(1), tf.scalar(2)] },
      tf.tensor2d([5, 6], [1, 2]),
    ];
    const wanted = f(...args);
    const got = compile(f)(...args);
    expect(Object.keys(got)).toEqual(['y', 'parts']);
    expect(values(got.y)).toEqual(values(wanted.y));
    expect(got.parts.map(values)).toEqual(wanted.parts.map(values));
  });

  it('traces once for each set of shapes and types, not for new values', () => {
    let traces = 0;
    const f = compile((x: Tensor, rate: Tensor) => {
      traces++;
      return tf.mul(x, rate);
    });
    for (let i = 1; i <= 5; i++) expect(values(f(tf.tensor1d([1, 2]), tf.scalar(i)))).toEqual([i, 2 * i]);
    expect(traces).toBe(engine === 'ort' ? 1 : 5);
    expect(values(f(tf.tensor1d([1, 2, 3]), tf.scalar(2)))).toEqual([2, 4, 6]);
    expect(traces).toBe(engine === 'ort' ? 2 : 6);
  });

  it('distinguishes trees with equal tensors under other names', () => {
    const f = compile((p: Record<string, Tensor>) => (p.a === undefined ? tf.neg(p.b!) : tf.square(p.a)));
    expect(values(f({ a: tf.tensor1d([3]) }))).toEqual([9]);
    expect(values(f({ b: tf.tensor1d([3]) }))).toEqual([-3]);
  });

  it('consumes donated arguments and keeps the others', () => {
    const f = compile((state: { x: Tensor }, step: Tensor) => ({ x: tf.add(state.x, step) }), { donate: [0] });
    const [first, step] = [{ x: tf.tensor1d([1, 2]) }, tf.scalar(10)];
    let state = f(first, step);
    expect(first.x.isDisposed).toBe(true);
    expect(step.isDisposed).toBe(false);
    for (let i = 0; i < 5; i++) state = f(state, step);
    expect(values(state.x)).toEqual([61, 62]);
    expect(() => f(first, step)).toThrow(/disposed|donated/);
  });

  it('gives separate tensors as results, even if one is an argument or one tensor is returned twice', () => {
    const f = compile((x: Tensor) => {
      const y = tf.add(x, 1);
      return [x, y, y];
    });
    const x = tf.tensor1d([1]);
    const [same, a, b] = f(x);
    same!.dispose();
    a!.dispose();
    expect(values(b!)).toEqual([2]);
    expect(values(x)).toEqual([1]);
  });

  it('is inlined inside another compiled function', () => {
    const inner = compile((x: Tensor) => tf.square(x));
    const outer = compile((x: Tensor) => tf.add(inner(x), 1));
    expect(values(outer(tf.tensor1d([3])))).toEqual([10]);
    expect(inner.graphs).toBe(0);
  });

  it('keeps no tensor of a call except its results', () => {
    const f = compile((x: Tensor) => tf.sum(tf.tanh(tf.mul(x, 2))));
    const x = tf.tensor1d([1, 2]);
    f(x).dispose();
    const before = tf.memory().numTensors;
    for (let i = 0; i < 20; i++) f(x).dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('refuses what is no tree and a bad index', () => {
    expect(() => compile((x: Tensor) => x, { donate: [-1] })).toThrow(/donate: wanted indexes of arguments, got -1/);
    expect(() => compile((x: Tensor) => x, { idle: 'wait' as 'spin' })).toThrow(/idle: wanted 'spin' or 'sleep', got 'wait'/);
    if (engine === 'ort')
      expect(() => compile((x: Tensor) => x)(3 as never)).toThrow(/compile: wanted tensors in lists and records, got number/);
  });
});

describe('compile, only on ort', () => {
  beforeEach(() => useEngine('ort'));

  it('replays the same bits', () => {
    const f = compile((x: Tensor) => tf.softmax(tf.matMul(x, x, false, true)));
    const x = tf.tensor2d(Array.from({ length: 64 * 32 }, (_, i) => Math.sin(i)), [64, 32]); // prettier-ignore
    const first = values(f(x));
    for (let i = 0; i < 3; i++) expect(values(f(x))).toEqual(first);
  });

  it('explains a function that reads a value, and stays usable', () => {
    const f = compile((x: Tensor) => tf.mul(x, x.dataSync()[0]!));
    expect(() => f(tf.tensor1d([1]))).toThrow(/reads the value of a tensor/);
    expect(values(tf.add(tf.tensor1d([1]), 1))).toEqual([2]);
  });

  it('gives the model and where its time goes', () => {
    const f = compile((x: Tensor) => tf.matMul(x, x), { name: 'square' });
    const x = tf.zeros([4, 4]);
    expect(Buffer.from(f.onnx(x)).toString('latin1')).toContain('square');
    const times = f.profile(x);
    expect(times.map(({ op }) => op)).toContain('MatMul');
    expect(times.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 6);
    f.dispose();
    expect(f.graphs).toBe(0);
  });

  it('prints where the time of a function goes', () => {
    const log = vi.spyOn(console, 'log').mockImplementation(() => {});
    const x = tf.ones([8, 8]);
    const rows = profile((a: Tensor) => tf.tanh(tf.matMul(a, a)), x);
    const printed = log.mock.calls.flat().join('\n');
    log.mockRestore();
    expect(rows.map(({ op }) => op).sort()).toEqual(['MatMul', 'Tanh']);
    for (const { op } of rows) expect(printed).toContain(op);
    expect(printed).toMatch(/all +100\.0 % .* 2 nodes$/);
    expect(x.isDisposed).toBe(false);
  });

  it('counts the multiply-accumulates of products and convolutions', () => {
    const count = (f: (...xs: Tensor[]) => Tree, ...shapes: number[][]): number =>
      compile(f).multiplyAdds(...shapes.map((shape) => tf.ones(shape)));
    expect(count((a, b) => tf.matMul(a!, b!, true), [5, 2], [5, 3])).toBe(2 * 3 * 5);
    expect(count((a, b) => tf.add(tf.matMul(a!, b!, false, true), 1), [4, 2, 5], [4, 3, 5])).toBe(4 * 2 * 3 * 5);
    expect(count((a) => [tf.sum(a!, 0), tf.softmax(a!)], [40, 30])).toBe(0);
    const [image, filter, depthwise] = [
      [2, 6, 7, 3],
      [3, 3, 3, 5],
      [3, 3, 3, 1],
    ] as const;
    const conv = (x: Tensor, w: Tensor): Tensor => tf.conv2d(x as never, w as never, 2, 'same');
    const perOutput = 2 * 3 * 4 * 5 * (3 * 3 * 3);
    expect(count((x, w) => conv(x!, w!), [...image], [...filter])).toBe(perOutput);
    expect(count((x, w) => tf.grad((v: Tensor) => conv(v, w!))(x!), [...image], [...filter])).toBe(perOutput);
    const channelwise = 2 * 6 * 7 * 3 * (3 * 3);
    expect(count((x, w) => tf.depthwiseConv2d(x as never, w as never, 1, 'same'), [...image], [...depthwise])).toBe(channelwise);
  });

  it('counts the bytes of the tensors that live at one time', () => {
    const bytes = (f: (...xs: Tensor[]) => Tree, ...shapes: number[][]): number =>
      compile(f).peakBytes(...shapes.map((shape) => tf.ones(shape))) / 4;
    const n = 1000;
    // Argument, result, and what lies between.
    expect(bytes((x) => tf.tanh(x!), [n])).toBe(2 * n);
    expect(bytes((x) => tf.tanh(tf.exp(x!)), [n])).toBe(3 * n);
    // A chain needs the operand and the result of one link, however long it is.
    expect(bytes((x) => tf.tanh(tf.exp(tf.sin(tf.cos(tf.tanh(x!))))), [n])).toBe(4 * n);
    // What is read again later stays.
    const again = (x: Tensor): Tensor => {
      const early = tf.exp(x);
      return tf.add(early, tf.tanh(tf.sin(tf.cos(early))));
    };
    expect(bytes((x) => again(x!), [n])).toBe(2 * n + 3 * n);
    // Another shape of a tensor is that tensor; a part of it is another one, and is made when it is read. A size or place in the graph has 8 bytes.
    expect(bytes((x) => tf.tanh(tf.reshape(tf.exp(x!), [10, 100])), [n])).toBe(3 * n + 4);
    expect(bytes((x) => tf.split(tf.exp(x!), 2).map((part) => tf.tanh(part)), [n])).toBe(3.5 * n + 8);
    // Row by row a product does without the whole.
    const gram = (part: Tensor, x: Tensor): Tensor => tf.sum(tf.exp(tf.matMul(part, x, false, true)), 1);
    const rows = (x: Tensor): Tensor => tf.concat(tf.split(x, 16).map((part) => gram(part, x)));
    expect(bytes((x) => gram(x!, x!), [64, 4])).toBeGreaterThan(2 * 64 * 64);
    expect(bytes((x) => rows(x!), [64, 4])).toBeLessThan(4 * 64 * 4 + 2 * 4 * 64);
  });

  it('folds factors and biases into products without changing the result', () => {
    const f = (x: Tensor, w: Tensor, b: Tensor): Tensor[] => {
      const hidden = tf.mul(tf.reshape(tf.add(tf.matMul(x, w, false, true), b), [2, 3, 4]), 0.3);
      const flat = tf.reshape(tf.mul(tf.sigmoid(hidden), 5), [6, 4]);
      return [tf.matMul(flat, w), tf.sum(flat, 0), tf.neg(tf.matMul(flat, w)), tf.add(tf.matMul(x, w, false, true), b)];
    };
    const random = (n: number, k: number): number[] => Array.from({ length: n }, (_, i) => Math.sin(i * k + 1));
    const args = [tf.tensor2d(random(30, 1.3), [6, 5]), tf.tensor2d(random(20, 0.7), [4, 5]), tf.tensor1d(random(4, 2.1))] as const;
    const wanted = f(...args).map(values);
    const compiled = compile((...xs: [Tensor, Tensor, Tensor]) => f(...xs))(...args).map(values);
    compiled.forEach((list, i) => list.forEach((value, at) => expect(value).toBeCloseTo(wanted[i]![at]!, 5)));
    expect(Buffer.from(compile((...xs: [Tensor, Tensor, Tensor]) => f(...xs)).onnx(...args)).toString('latin1')).toContain('Gemm');
  });

  it('refuses a model of an engine without a graph', async () => {
    await useEngine('cpu');
    expect(() => compile((x: Tensor) => x).onnx(tf.zeros([1]))).toThrow(/onnx needs the engine 'ort', got 'cpu'/);
  });
});

describe('useEngine', () => {
  it('names the engines it knows and the options it takes', async () => {
    await expect(useEngine('gpu')).rejects.toThrow("useEngine: wanted one of ort, cpu, wasm, webgl, tensorflow, got 'gpu'");
    await expect(useEngine('cpu', { threads: 2 })).rejects.toThrow(/options of 'ort'/);
    await expect(useEngine('ort', { threads: 0 })).rejects.toThrow(/threads: wanted a whole number from 1, got 0/);
  });

  it.skipIf(tensorflow)('says why an engine that is not installed cannot be used, and where to read on', async () => {
    const sentence =
      /^useEngine: 'tensorflow' needs @tensorflow\/tfjs-node \(docs\/tfjs-node\.md says .*\), which could not be loaded: .+$/;
    await expect(useEngine('tensorflow')).rejects.toThrow(sentence);
    expect(existsSync(new URL('../../../docs/tfjs-node.md', import.meta.url))).toBe(true);
  });

  it('runs on one thread when told', async () => {
    expect(await useEngine('ort', { threads: 1 })).toBe('ort');
    expect(engineName()).toBe('ort');
    const x = tf.ones([8, 8]);
    expect(values(tf.sum(tf.matMul(x, x)))).toEqual([512]);
    disposeTree([x]);
  });
});
