import { beforeEach, describe, expect, it } from 'vitest';
import { expectClose, expectNoLeak } from '../../testkit/src/index.ts';
import { compile, compileModel, tf, useEngine, type Tensor } from '../src/index.ts';

beforeEach(async () => {
  await useEngine('ort');
});

const floats = (shape: number[], step: number): Tensor => {
  const size = shape.reduce((a, b) => a * b, 1);
  return tf.tensor(
    Array.from({ length: size }, (_, i) => Math.sin(step * i)),
    shape,
  );
};
/** Weights that do not come from random numbers. */
function setWeights(model: tf.LayersModel): void {
  model.setWeights(model.getWeights().map((w, i) => tf.mul(floats(w.shape, 0.7 + i), 0.4)));
}

function classifier(): tf.LayersModel {
  const model = tf.sequential({
    layers: [
      tf.layers.conv2d({ inputShape: [8, 9, 3], filters: 4, kernelSize: 3, activation: 'relu', padding: 'same' }),
      tf.layers.maxPooling2d({ poolSize: 2 }),
      tf.layers.dropout({ rate: 0.5 }),
      tf.layers.flatten(),
      tf.layers.dense({ units: 5, activation: 'softmax' }),
    ],
  });
  setWeights(model);
  return model;
}

/**
 * y = reshape(x, [shape(x)[0], 6]) · w, where the shape is computed as exported models do it: Shape, StridedSlice, Pack, Reshape.
 */
async function graphModel(): Promise<tf.GraphModel> {
  const node = (name: string, op: string, input: string[], attr: Record<string, unknown> = {}) => ({ name, op, input, attr });
  const type = { type: 'DT_INT32' };
  const whole = (name: string, shape: number[]) => node(name, 'Const', [], { dtype: type, value: { tensor: { dtype: 'DT_INT32', tensorShape: { dim: shape.map((size) => ({ size: String(size) })) } } } }); // prettier-ignore
  const nodes = [
    node('x', 'Placeholder', [], {
      dtype: { type: 'DT_FLOAT' },
      shape: { shape: { dim: [{ size: '-1' }, { size: '2' }, { size: '3' }] } },
    }),
    whole('zero', [1]),
    whole('one', [1]),
    whole('six', []),
    node('w', 'Const', [], { dtype: { type: 'DT_FLOAT' }, value: { tensor: { dtype: 'DT_FLOAT', tensorShape: { dim: [{ size: '6' }, { size: '4' }] } } } }), // prettier-ignore
    node('shape', 'Shape', ['x'], { T: { type: 'DT_FLOAT' }, out_type: type }),
    node('batch', 'StridedSlice', ['shape', 'zero', 'one', 'one'], { shrink_axis_mask: { i: '1' }, begin_mask: { i: '0' }, end_mask: { i: '0' }, ellipsis_mask: { i: '0' }, new_axis_mask: { i: '0' } }), // prettier-ignore
    node('sizes', 'Pack', ['batch', 'six'], { axis: { i: '0' }, N: { i: '2' } }),
    node('flat', 'Reshape', ['x', 'sizes'], {}),
    node('y', 'MatMul', ['flat', 'w'], { transpose_a: { b: false }, transpose_b: { b: false } }),
    node('z', 'Relu', ['y'], {}),
  ];
  const weights = Float32Array.from({ length: 24 }, (_, i) => Math.cos(i));
  const weightSpecs = [
    { name: 'zero', shape: [1], dtype: 'int32' },
    { name: 'one', shape: [1], dtype: 'int32' },
    { name: 'six', shape: [], dtype: 'int32' },
    { name: 'w', shape: [6, 4], dtype: 'float32' },
  ];
  const data = new Uint8Array([...new Uint8Array(Int32Array.of(0, 1, 6).buffer), ...new Uint8Array(weights.buffer)]).buffer;
  return tf.loadGraphModel(
    tf.io.fromMemory({ modelTopology: { node: nodes, versions: { producer: 1 } }, weightSpecs: weightSpecs as never, weightData: data }),
  );
}

describe('compileModel of a model of tf.layers', () => {
  it('gives what predict gives, with one graph for each input shape', () => {
    const model = classifier();
    const fast = compileModel(model);
    for (const batch of [2, 3, 40, 2]) {
      const x = floats([batch, 8, 9, 3], 0.3);
      expectClose(fast.predict(x) as Tensor, model.predict(x) as Tensor, { abs: 1e-6 });
    }
    expect(fast.graphs).toBe(3);
    fast.dispose();
    model.dispose();
  });

  it('computes with the weights that the model has now', async () => {
    const model = classifier();
    const fast = compileModel(model);
    const x = floats([2, 8, 9, 3], 0.3);
    fast.predict(x);
    model.compile({ optimizer: tf.train.sgd(0.5), loss: 'categoricalCrossentropy' });
    await model.trainOnBatch(x, tf.oneHot(tf.tensor1d([1, 3], 'int32'), 5));
    const wanted = model.predict(x) as Tensor;
    expectClose(fast.predict(x) as Tensor, wanted, { abs: 1e-6 });
    expect(fast.graphs).toBe(1);
    fast.dispose();
    model.dispose();
  });

  it('takes lists and keeps no tensors', async () => {
    const [a, b] = [tf.input({ shape: [3] }), tf.input({ shape: [3] })];
    const sum = tf.layers.add().apply([a, b]) as tf.SymbolicTensor;
    const model = tf.model({ inputs: [a, b], outputs: [sum, tf.layers.dense({ units: 2 }).apply(sum) as tf.SymbolicTensor] });
    const fast = compileModel(model);
    const inputs = [floats([2, 3], 1), floats([2, 3], 2)];
    const [first, second] = fast.predict(inputs) as Tensor[];
    const wanted = model.predict(inputs) as Tensor[];
    expectClose(first!, wanted[0]!, { abs: 1e-6 });
    expectClose(second!, wanted[1]!, { abs: 1e-6 });
    await expectNoLeak(() => tf.dispose(fast.predict(inputs) as Tensor[]));
    fast.dispose();
    model.dispose();
  });

  it('refuses a stateful model, and execute', () => {
    const stateful = tf.sequential({ layers: [tf.layers.lstm({ units: 2, stateful: true, batchInputShape: [1, 2, 3] })] });
    expect(() => compileModel(stateful)).toThrow(/wanted a model without a state between calls/);
    expect(() => compileModel(classifier()).execute(floats([1, 8, 9, 3], 1), 'y')).toThrow(/execute: wanted a graph model/);
  });
});

describe('compileModel of a graph model', () => {
  it('folds what follows from shapes, and gives what predict and execute give', async () => {
    await useEngine('cpu');
    const x = floats([5, 2, 3], 0.3);
    const slow = await graphModel();
    const [wanted, relu] = [slow.execute(x, 'y') as Tensor, slow.predict(x) as Tensor].map((y) => y.dataSync());
    await useEngine('ort');
    const model = await graphModel();
    const fast = compileModel(model);
    expectClose((fast.execute(x, 'y') as Tensor).dataSync(), wanted!, { abs: 1e-6 });
    expectClose((fast.predict(x) as Tensor).dataSync(), relu!, { abs: 1e-6 });
    const [y, z] = fast.execute({ x }, ['y', 'z']) as Tensor[];
    expect(y!.shape).toEqual([5, 4]);
    expectClose(z!, tf.relu(y!));
    fast.predict(floats([3, 2, 3], 0.2));
    expect(fast.graphs).toBe(4);
    fast.dispose();
    model.dispose();
  });

  it('runs on an engine without a graph', async () => {
    await useEngine('cpu');
    const model = await graphModel();
    const fast = compileModel(model);
    expectClose(fast.predict(floats([5, 2, 3], 0.3)) as Tensor, model.predict(floats([5, 2, 3], 0.3)) as Tensor);
    expect(fast.graphs).toBe(0);
  });
});

describe('compile', () => {
  it('reads values that follow from shapes and constants, and from nothing else', () => {
    const f = compile((x: Tensor) => {
      const sizes = tf.stack([tf.scalar(x.shape[0]!, 'int32'), tf.prod(tf.tensor1d(x.shape.slice(1), 'int32'))]);
      return tf.reshape(x, sizes.arraySync() as number[]);
    });
    expect(f(floats([2, 3, 4], 1)).shape).toEqual([2, 12]);
    expect(f(floats([5, 3, 1], 1)).shape).toEqual([5, 3]);
    const unique = compile((x: Tensor) => tf.mul(x, tf.unique(tf.tensor1d([3, 3, 2])).values));
    expectClose(unique(tf.tensor1d([1, 2])), [3, 4]);
    expect(() => compile((x: Tensor) => tf.mul(x, tf.sum(x).dataSync()[0]!))(tf.ones([2]))).toThrow(/reads the value of a tensor/);
    expect(() => compile((x: Tensor) => tf.unique(x as never).values)(tf.ones([2]))).toThrow(/Unique can't be part/);
    f.dispose();
    unique.dispose();
  });
});
