import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { beforeEach, describe, expect, it } from 'vitest';
import type { OrtBackend } from '../src/backend.ts';
import { traceGraph } from '../src/compiled-graph.ts';
import { traceScan } from '../src/scan.ts';
import { tf } from '../src/tf.ts';
import { useOrt, type Tensor } from './agree.ts';

/** Exported models, opened and run by ONNX Runtime's public interface, which knows nothing of this package. */

beforeEach(useOrt);

const float = (shape: number[]) => ({ shape, dtype: 'float32' });
const model = (signature: { shape: number[]; dtype: string }[], f: (xs: Tensor[]) => Tensor[], inputs: string[], outputs: string[]) => {
  const graph = traceGraph(tf.backend() as OrtBackend, signature, f, 'model');
  const bytes = graph.onnx(inputs, outputs);
  graph.dispose();
  return bytes;
};
/** Feeds values in the order of the inputs, and gives values in the order of the outputs. */
async function run(bytes: Uint8Array, args: OrtTensor[]) {
  const session = await InferenceSession.create(bytes, { intraOpNumThreads: 1 });
  const results = await session.run(Object.fromEntries(session.inputNames.map((name, i) => [name, args[i]!])));
  const values = session.outputNames.map((name) => Array.from(results[name]!.data as Float32Array, Number));
  const shapes = session.outputNames.map((name) => [...results[name]!.dims]);
  const { inputNames, outputNames } = session;
  await session.release();
  return { inputNames, outputNames, values, shapes };
}
const fed = (data: number[], dims: number[]): OrtTensor => new OrtTensor('float32', Float32Array.from(data), dims);

describe('an exported model', () => {
  it('has every argument in order, used or not, and every result, computed or not', async () => {
    const bytes = model(
      [float([2]), float([2]), float([3]), float([])],
      ([w, x, , s]) => {
        const y = tf.mul(tf.sub(x!, w!), s!);
        return [y, x!, tf.tensor1d([5, 6]), y, tf.reshape(w!, [2, 1]), tf.scalar(0.5)];
      },
      ['0.w', '1', '2', '3'],
      ['y', 'same', 'constant', 'twice', 'column', 'half'],
    );
    const { inputNames, outputNames, values, shapes } = await run(bytes, [
      fed([1, 2], [2]),
      fed([10, 20], [2]),
      fed([0, 0, 0], [3]),
      fed([2], []),
    ]);
    expect(inputNames).toEqual(['0.w', '1', '2', '3']);
    expect(outputNames).toEqual(['y', 'same', 'constant', 'twice', 'column', 'half']);
    expect(values).toEqual([[18, 36], [10, 20], [5, 6], [18, 36], [1, 2], [0.5]]); // prettier-ignore
    expect(shapes[4]).toEqual([2, 1]);
    expect(shapes[5]).toEqual([]);
  });

  it('exists where nothing is computed', async () => {
    const { values } = await run(
      model([float([2])], ([x]) => [x!], ['x'], ['y']),
      [fed([3, 4], [2])],
    );
    expect(values).toEqual([[3, 4]]);
    const none = await run(
      model([], () => [tf.tensor1d([1, 2])], [], ['y']),
      [],
    );
    expect(none.values).toEqual([[1, 2]]);
  });

  it('keeps integers and truth values', async () => {
    const bytes = model(
      [
        { shape: [3], dtype: 'int32' },
        { shape: [3], dtype: 'bool' },
      ],
      ([i, b]) => [tf.where(b as never, i!, tf.zerosLike(i!)), tf.logicalNot(b as never)],
      ['i', 'b'],
      ['chosen', 'not'],
    );
    const { values } = await run(bytes, [
      new OrtTensor('int32', Int32Array.of(7, 8, 9), [3]),
      new OrtTensor('bool', Uint8Array.of(1, 0, 1), [3]),
    ]);
    expect(values).toEqual([[7, 0, 9], [0, 1, 0]]); // prettier-ignore
  });

  it('holds loops, several results of one operator, and names that look like its own', async () => {
    const bytes = model(
      [float([3, 2]), float([2])],
      ([rows, start]) => {
        const { carry, collected } = traceScan(tf.backend() as OrtBackend, [start!], [rows!], ([sum], [row]) => {
          const next = tf.add(sum!, tf.topk(row!, 1).values);
          return { carry: [next], collected: [tf.mul(next, 2)] };
        });
        return [carry[0]!, collected[0]!];
      },
      ['v0', '_v1'],
      ['v2', '_v3'],
    );
    const { inputNames, values } = await run(bytes, [fed([1, 2, 4, 3, 5, 6], [3, 2]), fed([0, 1], [2])]);
    expect(inputNames).toEqual(['v0', '_v1']);
    expect(values).toEqual([[12, 13], [4, 6, 12, 14, 24, 26]]); // prettier-ignore
  });

  it('says who made it, and what goes in and out', () => {
    const bytes = model([float([2, 3])], ([x]) => [tf.exp(x!)], ['x'], ['y']);
    const text = Buffer.from(bytes).toString('latin1');
    for (const part of ['@atelier/backend-ort', 'atelier.inputs', '[{"name":"x","shape":[2,3],"dtype":"float32"}]', 'atelier.outputs'])
      expect(text).toContain(part);
  });

  it('refuses names that are not all different', () => {
    const once = (inputs: string[], outputs: string[]) => () => model([float([2])], ([x]) => [tf.exp(x!)], inputs, outputs);
    expect(once(['x'], ['x'])).toThrow("onnx model: wanted every name once, got 'x' twice");
    expect(once([''], ['y'])).toThrow('onnx model: wanted a name for every argument and result, got an empty one');
  });
});
