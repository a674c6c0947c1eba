import { beforeEach, describe, expect, it } from 'vitest';
import { OrtBackend } from '../src/backend.ts';
import { traceGraph } from '../src/compiled-graph.ts';
import { registerOrt } from '../src/register.ts';
import { tf } from '../src/tf.ts';
import { useOrt, type Tensor } from './agree.ts';

const backend = (): OrtBackend => tf.backend() as OrtBackend;

beforeEach(useOrt);

describe('the lazy graph', () => {
  it('computes nothing until a value is read, then everything alive at once', async () => {
    const made = backend().sessions.created;
    const x = tf.tensor1d([1, 2, 3]);
    const [a, b] = [tf.sin(x), tf.cos(x)];
    expect(backend().sessions.created).toBe(made);
    expect(Array.from(await a.data())[0]).toBeCloseTo(Math.sin(1), 6);
    expect(backend().sessions.created).toBe(made + 1);
    b.dataSync();
    expect(backend().sessions.created).toBe(made + 1);
  });

  it('makes equal operations one node and never runs a disposed one', () => {
    backend().flush();
    const x = tf.tensor1d([1, 2, 3]);
    const before = backend().graph.size;
    const [a, b] = [tf.exp(x), tf.exp(x)];
    expect(backend().graph.size).toBe(before + 1);
    expect(a.dataId).not.toBe(b.dataId);
    const dead = tf.gather(x, tf.neg(tf.tensor1d([-99], 'int32')));
    dead.dispose();
    expect(a.dataSync()[0]).toBeCloseTo(Math.E, 6);
  });

  it('runs a second step of the same shape in the same session, for any scalars', () => {
    const step = (rate: number): number => tf.tidy(() => tf.sum(tf.mul(tf.tensor1d([1, 2, 3]), rate)).dataSync()[0]!);
    expect(step(0.5)).toBeCloseTo(3, 6);
    const made = backend().sessions.created;
    for (let i = 1; i < 50; i++) expect(step(i / 7)).toBeCloseTo((6 * i) / 7, 4);
    expect(backend().sessions.created).toBe(made);
  });

  it('copies what it is given and what it gives', () => {
    const values = new Float32Array([1, 2]);
    const x = tf.tensor1d(values);
    values[0] = 99;
    const read = x.dataSync();
    expect(read[0]).toBe(1);
    read[0] = 7;
    expect(x.dataSync()[0]).toBe(1);
  });

  it('takes tensors over from another engine', async () => {
    await tf.setBackend('cpu');
    const x = tf.tensor1d([1, 4, 9]);
    await tf.setBackend('ort');
    expect(Array.from(tf.sqrt(x).dataSync())).toEqual([1, 2, 3]);
  });

  it('keeps pending and computed tensors when the engine is set up anew', async () => {
    const x = tf.tensor1d([1, 4, 9]);
    const [read, pending] = [tf.sqrt(x), tf.neg(x)];
    read.dataSync();
    registerOrt({ threads: 1 });
    await tf.setBackend('ort');
    expect(Array.from(tf.add(read, pending).dataSync())).toEqual([0, -2, -6]);
  });

  it('stays usable after a run that fails', () => {
    const x = tf.tensor1d([1, 2, 3]);
    const bad = tf.gather(x, tf.neg(tf.tensor1d([-99], 'int32')));
    expect(() => bad.dataSync()).toThrow(/Gather/);
    bad.dispose();
    expect(tf.add(x, 1).dataSync()[2]).toBe(4);
  });

  it('reads what can be computed beside something alive that cannot', () => {
    const x = tf.tensor1d([1, 2, 3]);
    const bad = tf.gather(x, tf.cast(tf.mul(x, 40), 'int32'));
    const good = tf.add(x, 1);
    expect(Array.from(good.dataSync())).toEqual([2, 3, 4]);
    expect(() => bad.dataSync()).toThrow(/Gather/);
    expect(tf.sum(good).dataSync()[0]).toBe(9);
    bad.dispose();
  });

  it('serves a thousand Adam steps with a schedule from a handful of sessions', () => {
    const w = tf.variable(tf.tensor1d([3, -2]));
    const made = backend().sessions.created;
    const adam = tf.train.adam(0.1);
    for (let i = 0; i < 1000; i++) {
      (adam as unknown as { learningRate: number }).learningRate = 0.1 * (1 - i / 1000);
      adam.minimize(() => tf.sum(tf.square(w)));
      if (i % 10 === 0) w.dataSync();
    }
    expect(Math.max(...w.dataSync().map(Math.abs))).toBeLessThan(1e-2);
    expect(backend().sessions.created - made).toBeLessThan(8);
    adam.dispose();
    w.dispose();
  });

  it('names a tensor that is gone, a shape that does not fit and a type that it does not have', () => {
    const x = tf.tensor1d([1]);
    expect(() => backend().readSync({})).toThrow(/disposed, or donated/);
    expect(() => backend().write(new Float32Array(2), [3], 'float32')).toThrow('ort write: wanted 3 values for [3], got 2');
    expect(() => tf.engine().runKernel('Sin', { x: tf.complex(x, x) })).toThrow('ort Sin: wanted float32, int32 or bool, got complex64');
  });

  it('keeps neither tensors nor sessions of steps that are over', () => {
    const step = (i: number): void => tf.tidy(() => void tf.sum(tf.tanh(tf.mul(tf.fill([4, 4], i), 0.1))).dataSync());
    step(0.3);
    const [tensors, sessions, ids] = [tf.memory().numTensors, backend().sessions.size, backend().numDataIds()];
    for (let i = 0; i < 300; i++) step(i + 0.5);
    expect(tf.memory().numTensors).toBe(tensors);
    expect(backend().sessions.size).toBe(sessions);
    expect(backend().numDataIds()).toBe(ids);
  });
});

describe('a compiled graph', () => {
  const signature = [{ shape: [2], dtype: 'float32' }];

  it('gives what the function gives, the same bits at every call', () => {
    const f = ([x]: Tensor[]): Tensor[] => [tf.tanh(tf.mul(x!, 3)), tf.sum(x!)];
    const graph = traceGraph(backend(), signature, f, 'f');
    const x = tf.tensor1d([0.3, -0.7]);
    const [a, b] = graph.run([x], [false]);
    const again = graph.run([x], [false]);
    expect(Array.from(a!.dataSync())).toEqual(Array.from(again[0]!.dataSync()));
    const [wanted] = f([x]);
    expect(a!.dataSync()[1]).toBeCloseTo(wanted!.dataSync()[1]!, 6);
    expect(b!.dataSync()[0]).toBeCloseTo(-0.4, 6);
  });

  it('passes arguments and constants through', () => {
    const graph = traceGraph(backend(), signature, ([x]) => [x!, tf.tensor1d([5, 6]), tf.reshape(x!, [2, 1])], 'pass');
    const x = tf.tensor1d([1, 2]);
    const [same, constant, column] = graph.run([x], [true]);
    expect(x.isDisposed).toBe(true);
    expect(Array.from(same!.dataSync())).toEqual([1, 2]);
    expect(Array.from(constant!.dataSync())).toEqual([5, 6]);
    expect(column!.shape).toEqual([2, 1]);
    expect(Array.from(column!.dataSync())).toEqual([1, 2]);
  });

  it('never lends memory of a donated tensor twice, though two tensors shared it', () => {
    const two = [...signature, ...signature];
    const graph = traceGraph(backend(), two, ([x, y]) => [tf.add(x!, 1), tf.add(y!, 2)], 'pair');
    let [a, b] = [tf.tensor1d([1, 2]), tf.tensor1d([1, 2])] as Tensor[];
    [a, b] = [tf.add(a!, 0.5), tf.add(a!, 0.5)]; // one node, two tensors
    for (let i = 0; i < 4; i++) [a, b] = graph.run([a!, b!], [true, true]) as [Tensor, Tensor];
    expect(Array.from(a!.dataSync())).toEqual([5.5, 6.5]);
    expect(Array.from(b!.dataSync())).toEqual([9.5, 10.5]);
  });

  it('does not overwrite a donated tensor that a clone still holds', () => {
    const graph = traceGraph(backend(), signature, ([x]) => [tf.mul(x!, 2)], 'double');
    const x = tf.tensor1d([1, 2]);
    const kept = x.clone();
    let [y] = graph.run([x], [true]);
    for (let i = 0; i < 3; i++) [y] = graph.run([y!], [true]);
    expect(Array.from(kept.dataSync())).toEqual([1, 2]);
    expect(Array.from(y!.dataSync())).toEqual([16, 32]);
  });

  it('refuses a function that reads a value', () => {
    expect(() => traceGraph(backend(), signature, ([x]) => [tf.mul(x!, x!.dataSync()[0]!)], 'reads')).toThrow(
      /compile: the function reads the value/,
    );
    expect(tf.add(tf.tensor1d([1]), 1).dataSync()[0]).toBe(2);
  });

  it('gives its model as the bytes of an .onnx file', () => {
    const graph = traceGraph(backend(), signature, ([x]) => [tf.exp(x!)], 'exponential');
    const text = Buffer.from(graph.onnx(['x'], ['y'])).toString('latin1');
    expect(text).toContain('Exp');
    expect(text).toContain('exponential');
  });
});
