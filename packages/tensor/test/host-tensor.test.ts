import ndarray from 'ndarray';
import { beforeAll, describe, expect, it } from 'vitest';
import { fromNdarray, tf, toHost, toHostTree, toNdarray, toTensor, useEngine, type HostTensor } from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

describe('toTensor and toHost', () => {
  it.each<[string, HostTensor]>([
    ['float32', { dtype: 'float32', shape: [2, 3], data: Float32Array.of(1, -2.5, NaN, Infinity, -0, 1e-40) }],
    ['int32', { dtype: 'int32', shape: [3, 1], data: Int32Array.of(-(2 ** 31), 2 ** 31 - 1, 2 ** 24 + 1) }],
    ['bool', { dtype: 'bool', shape: [2, 2], data: Uint8Array.of(0, 1, 1, 0) }],
    ['a scalar', { dtype: 'float32', shape: [], data: Float32Array.of(7) }],
    ['no elements', { dtype: 'int32', shape: [0, 4], data: new Int32Array(0) }],
  ])('are inverse: %s', async (_, host) => {
    const tensor = toTensor(host);
    expect([tensor.dtype, tensor.shape]).toEqual([host.dtype, host.shape]);
    expect(await toHost(tensor)).toEqual(host);
    expect(tensor.isDisposed).toBe(false);
    tensor.dispose();
  });

  it('copy: neither side changes with the other', async () => {
    const host: HostTensor = { dtype: 'float32', shape: [2], data: Float32Array.of(1, 2) };
    const tensor = toTensor(host);
    host.data[0] = 9;
    const read = await toHost(tensor);
    read.data[1] = 9;
    read.shape[0] = 9;
    expect(await toHost(tensor)).toEqual({ dtype: 'float32', shape: [2], data: Float32Array.of(1, 2) });
  });

  it('read computed bool and int32 tensors in their own array types', async () => {
    expect(await toHost(tf.greater(tf.tensor1d([1, 3]), 2))).toEqual({ dtype: 'bool', shape: [2], data: Uint8Array.of(0, 1) });
    expect(await toHost(tf.argMax(tf.tensor2d([[1, 3]]), 1))).toEqual({ dtype: 'int32', shape: [1], data: Int32Array.of(1) });
  });

  it('toHostTree names leaves by dotted path', async () => {
    const tree = { blocks: [{ weight: tf.tensor1d([1]) }, { weight: tf.tensor1d([2, 3]) }], scale: tf.scalar(4) };
    const host = await toHostTree(tree);
    expect(Object.keys(host)).toEqual(['blocks.0.weight', 'blocks.1.weight', 'scale']);
    expect(host['blocks.1.weight']).toEqual({ dtype: 'float32', shape: [2], data: Float32Array.of(2, 3) });
  });

  it('refuse what is no host tensor and dtypes that have none', async () => {
    expect(() => toTensor({ dtype: 'float32', shape: [3], data: Float32Array.of(1) })).toThrow(
      'toTensor: wanted 3 values for shape [3], got 1',
    );
    expect(() => toTensor(null as never)).toThrow('toTensor: wanted { dtype, shape, data }, got null');
    expect(() => toTensor({ dtype: 'float32', shape: [1], data: [1] as never })).toThrow(
      'toTensor: wanted Float32Array data for dtype float32, got Array',
    );
    await expect(toHost(3 as never)).rejects.toThrow('toHost: wanted a tensor, got number');
    // The engine of the workspace holds no texts; TensorFlow.js's own does.
    await useEngine('cpu');
    const text = tf.tensor1d(['a']);
    await useEngine();
    await expect(toHost(text)).rejects.toThrow('toHost: wanted dtype float32, int32 or bool, got string');
  });
});

describe('the ndarray bridge', () => {
  it('reads views in the order of their axes: transposed, strided, reversed, with an offset', async () => {
    const data = Float32Array.from({ length: 24 }, (_, i) => i);
    const whole = ndarray(data, [2, 3, 4]);
    for (const view of [
      whole,
      whole.transpose(2, 0, 1),
      whole.step(1, -1, 2),
      whole.lo(0, 1, 2),
      whole.pick(1, null, null),
      whole.pick(1, 2, 3),
      whole.hi(2, 0, 4),
    ]) {
      const { shape, data: values } = await toHost(fromNdarray(view));
      expect(shape).toEqual(view.shape);
      // ndarray's own `get` is the reference for what a view contains.
      const wanted: number[] = [];
      const visit = (index: number[]): void => {
        if (index.length === view.shape.length) wanted.push(view.get(...index));
        else for (let i = 0; i < view.shape[index.length]!; i++) visit([...index, i]);
      };
      visit([]);
      expect([...values]).toEqual(wanted);
    }
  });

  it('maps element types: floats to float32, small integers to int32', () => {
    const dtypeOf = (data: ConstructorParameters<typeof Array>[0] | ArrayLike<number>): string =>
      fromNdarray(ndarray(data as Float32Array, [2])).dtype;
    expect([new Float32Array(2), new Float64Array(2), [1, 2]].map(dtypeOf)).toEqual(['float32', 'float32', 'float32']);
    const integers = [
      new Int8Array(2),
      new Int16Array(2),
      new Int32Array(2),
      new Uint8Array(2),
      new Uint8ClampedArray(2),
      new Uint16Array(2),
    ];
    expect(integers.map(dtypeOf)).toEqual(integers.map(() => 'int32'));
  });

  it('goes back with shape, values and, for bool, uint8', async () => {
    const nd = await toNdarray(tf.tensor2d([1, 2, 3, 4, 5, 6], [2, 3]));
    expect([nd.shape, nd.dtype, nd.get(1, 0)]).toEqual([[2, 3], 'float32', 4]);
    expect((await toNdarray(tf.tensor1d([true, false]))).dtype).toBe('uint8');
    const scalar = await toNdarray(tf.scalar(5));
    expect([scalar.shape, scalar.get()]).toEqual([[], 5]);
    expect(await toHost(fromNdarray(scalar))).toEqual({ dtype: 'float32', shape: [], data: Float32Array.of(5) });
  });

  it('refuses element types that a tensor can not hold', () => {
    expect(() => fromNdarray(ndarray(new Uint32Array(1), [1]))).toThrow(/^fromNdarray: wanted an ndarray of float32, .*, got uint32$/);
    expect(() => fromNdarray(ndarray(new BigInt64Array(1) as never, [1]))).toThrow('got bigint64');
    expect(() => fromNdarray(undefined as never)).toThrow('got undefined');
  });
});
