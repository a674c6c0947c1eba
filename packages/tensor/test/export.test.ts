import { beforeEach, describe, expect, it } from 'vitest';
import { compile } from '../src/compile.ts';
import { useEngine } from '../src/engine.ts';
import { scan } from '../src/scan.ts';
import { tf, type Tensor } from '../src/tf.ts';

/** Names of inputs and outputs as the file has them: they stand in its metadata as JSON. */
function namesOf(bytes: Uint8Array): { inputs: string[]; outputs: string[] } {
  const text = Buffer.from(bytes).toString('latin1');
  const list = (key: string): string[] => {
    const from = text.indexOf('[', text.indexOf(key));
    return (JSON.parse(text.slice(from, text.indexOf('}]', from) + 2)) as { name: string }[]).map(({ name }) => name);
  };
  return { inputs: list('atelier.inputs'), outputs: list('atelier.outputs') };
}

describe('the model of a compiled function', () => {
  beforeEach(() => useEngine('ort'));
  const p = () => ({ w: tf.tensor1d([1, 2]), unused: { b: tf.scalar(0) } });
  const x = () => tf.tensor1d([5, 6]);

  it('has inputs in the order of the arguments, named by their paths', () => {
    const f = compile((params: ReturnType<typeof p>, v: Tensor) => ({ y: tf.sub(v, params.w), parts: [v, params.w] }));
    expect(namesOf(f.onnx(p(), x()))).toEqual({ inputs: ['0.w', '0.unused.b', '1'], outputs: ['y', 'parts.0', 'parts.1'] });
    f.dispose();
  });

  it('calls a single result output, and a path that is an input too output.path', () => {
    const one = compile((v: Tensor) => tf.exp(v));
    expect(namesOf(one.onnx(x()))).toEqual({ inputs: ['0'], outputs: ['output'] });
    const two = compile((v: Tensor) => [tf.exp(v), v]);
    expect(namesOf(two.onnx(x()))).toEqual({ inputs: ['0'], outputs: ['output.0', 'output.1'] });
  });

  it('takes the names that the caller gives', () => {
    const f = compile((params: ReturnType<typeof p>, v: Tensor) => tf.sub(v, params.w), {
      argumentNames: ['params', 'x'],
      resultName: 'y',
      donate: [0],
    });
    expect(namesOf(f.onnx(p(), x()))).toEqual({ inputs: ['params.w', 'params.unused.b', 'x'], outputs: ['y'] });
  });

  it('refuses names that are not all different', () => {
    const f = compile((v: Tensor, w: Tensor) => tf.add(v, w), { argumentNames: ['x', 'x'] });
    expect(() => f.onnx(x(), x())).toThrow(/wanted every name once, got 'x' twice/);
  });

  it('has the loops of the function, and calls go on as before', () => {
    const f = compile((rows: Tensor) =>
      scan((sum: Tensor, row: Tensor) => ({ carry: tf.add(sum, row), collect: sum }), tf.scalar(0), rows),
    );
    expect(namesOf(f.onnx(x()))).toEqual({ inputs: ['0'], outputs: ['carry', 'collected'] });
    expect(f(x()).carry.dataSync()[0]).toBe(11);
    f.dispose();
  });
});

describe('compiling beside a tensor that cannot be computed', () => {
  it('gives what it gives without it', async () => {
    await useEngine('ort');
    const bad = tf.gather(tf.tensor1d([1, 2, 3]), tf.add(tf.tensor1d([3], 'int32'), tf.scalar(1, 'int32')) as never);
    expect(() => bad.dataSync()).toThrow(/GatherV2/);
    const f = compile((v: Tensor) => tf.add(v, 1));
    expect(Array.from(f(tf.tensor1d([1])).dataSync())).toEqual([2]);
    expect(() => f(bad as Tensor)).toThrow(/GatherV2/);
    bad.dispose();
  });
});

describe('a fill inside a compiled function', () => {
  it('takes any shape', async () => {
    await useEngine('ort');
    const f = compile((v: Tensor) => tf.add(tf.reshape(tf.tile(tf.tensor2d([[5]]), [3, 4]), [12]), v));
    expect(Array.from(f(tf.ones([12])).dataSync())).toEqual(new Array(12).fill(6));
    f.dispose();
  });
});
