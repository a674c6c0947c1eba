import { beforeEach, describe, expect, it } from 'vitest';
import type { OrtBackend } from '../src/backend.ts';
import { traceGraph } from '../src/compiled-graph.ts';
import { hostReasons } from '../src/kernels/host.ts';
import { tf } from '../src/tf.ts';
import { expectAgreement, sample, useOrt, whole, type Tensor } from './agree.ts';

const backend = (): OrtBackend => tf.backend() as OrtBackend;

beforeEach(useOrt);

describe('kernels on the host', () => {
  it('read pending values and give what cpu gives', async () => {
    await expectAgreement((x) => Object.values(tf.unique(tf.add(x, tf.scalar(1, 'int32')))), [whole([6], [3, 1, 3, 2, 1, 9])]);
    const boxes = sample([6, 4], 1, (x) => Math.abs(x));
    await expectAgreement((b, s) => tf.image.nonMaxSuppression(b as never, s as never, 4, 0.3), [boxes, sample([6], 2)]);
    await expectAgreement((x, v) => tf.searchSorted(x, v), [{ data: [1, 2, 3, 5, 8, 9], shape: [1, 6] }, sample([1, 4], 3, (x) => 9 * x)]);
    await expectAgreement(
      (x, i, s) => tf.sparse.sparseSegmentSum(x as never, i as never, s as never),
      [sample([4, 3], 4), whole([4], [0, 1, 1, 3]), whole([4], [0, 0, 1, 1])],
    );
  });

  it('draws the numbers that cpu draws from the same seed', async () => {
    // The op itself is what is tested here.
    // eslint-disable-next-line no-restricted-syntax
    const draw = (p: Tensor): Tensor => tf.multinomial(p as never, 50, 42, false) as Tensor;
    await expectAgreement(draw, [sample([3, 5], 5)]);
  });

  it('leave nothing behind on either engine', async () => {
    const cpu = tf.findBackend('cpu') as unknown as { numDataIds(): number };
    const x = tf.tensor1d([2, 2, 1], 'int32');
    const [ours, theirs, tensors] = [backend().numDataIds(), cpu.numDataIds(), tf.memory().numTensors];
    for (let i = 0; i < 3; i++) tf.tidy(() => void tf.unique(x).values.dataSync());
    expect([backend().numDataIds(), cpu.numDataIds(), tf.memory().numTensors]).toEqual([ours, theirs, tensors]);
  });

  it('say in a compiled function that they cannot be part of it, and why', () => {
    const signature = [{ shape: [3], dtype: 'int32' }];
    expect(() => traceGraph(backend(), signature, ([x]) => [tf.unique(x!).values], 'f')).toThrow(
      "compile: Unique can't be part of a compiled function: it runs on the host, since the shape of its result depends on its inputs' values",
    );
    expect(tf.add(1, 1).dataSync()[0]).toBe(2);
  });

  it('have a kernel of the same name on cpu each', () => {
    for (const name of Object.keys(hostReasons)) expect(tf.getKernel(name, 'cpu'), name).toBeDefined();
  });

  it('cover, with those in the graph, every kernel that cpu has', () => {
    const ours = new Set((tf.getKernelsForBackend('ort') as { kernelName: string }[]).map((kernel) => kernel.kernelName));
    const theirs = (tf.getKernelsForBackend('cpu') as { kernelName: string }[]).map((kernel) => kernel.kernelName);
    expect(theirs.filter((name) => !ours.has(name))).toEqual([]);
  });

  it('names a kernel that does not exist', () => {
    expect(() => tf.engine().runKernel('NoSuchKernel', {})).toThrow(/NoSuchKernel/);
  });
});

describe('strings', () => {
  it('are kept, moved and compared', () => {
    const x = tf.tensor2d(['a', 'b', 'c', 'd'], [2, 2], 'string');
    expect(tf.reshape(x, [4]).dataSync()).toEqual(['a', 'b', 'c', 'd']);
    expect(tf.slice(x, [1, 0], [1, 2]).dataSync()).toEqual(['c', 'd']);
    expect(tf.concat([x, x], 0).shape).toEqual([4, 2]);
    expect(tf.tile(x, [1, 2]).dataSync()).toEqual(['a', 'b', 'a', 'b', 'c', 'd', 'c', 'd']);
    expect(Array.from(tf.equal(x, tf.fill([2, 2], 'b')).dataSync())).toEqual([0, 1, 0, 0]);
    expect(x.clone().arraySync()).toEqual([['a', 'b'], ['c', 'd']]); // prettier-ignore
  });

  it('are split, hashed and cut into n-grams as on cpu', async () => {
    const run = (): (string[] | number[])[] => {
      const text = tf.tensor1d(['to be or', 'not to be'], 'string');
      const { values, indices } = tf.string.stringSplit(text, ' ');
      const hash = tf.string.stringToHashBucketFast(text, 100);
      const grams = tf.string.stringNGrams(values as never, tf.tensor1d([0, 3, 6], 'int32') as never, '|', [2], '', '', 0, false);
      return [values, indices, hash, grams.nGrams].map((x) => Array.from(x.dataSync() as unknown as number[]));
    };
    const ours = run();
    await tf.setBackend('cpu');
    expect(ours).toEqual(run());
  });

  it('move here from another engine', async () => {
    await tf.setBackend('cpu');
    const x = tf.tensor1d(['x', 'y'], 'string');
    await useOrt();
    expect(tf.tile(x, [2]).dataSync()).toEqual(['x', 'y', 'x', 'y']);
  });

  it('never enter a graph', () => {
    const x = tf.tensor1d(['x'], 'string');
    const signature = [{ shape: [1], dtype: 'float32' }];
    expect(() => traceGraph(backend(), signature, () => [x], 'f')).toThrow('wanted dtype float32, int32 or bool, got string');
    expect(() => traceGraph(backend(), signature, () => [tf.tile(x, [2])], 'f')).toThrow(
      /compile: Tile can't be part of a compiled function/,
    );
  });
});
