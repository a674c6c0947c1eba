import { disposeTree, flattenTree, parseSafetensors, tf, useEngine, type HostTensor } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadParameters, type LoadOptions, type ParameterTable } from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

const table: ParameterTable = {
  'layer.weight': { shape: [2, 3], init: 'zeros' },
  'layer.bias': { shape: [2], init: 'zeros' },
  'conv.weight': { shape: [2, 1, 1, 3], init: 'zeros' },
};
const counted = (shape: number[], from = 0): HostTensor => ({
  dtype: 'float32',
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => from + i),
});
const own = { 'layer.weight': counted([2, 3]), 'layer.bias': counted([2]), 'conv.weight': counted([2, 1, 1, 3]) };
const load = (tensors: Record<string, HostTensor>, options: LoadOptions = {}) => loadParameters(table, tensors, options, 'load');

/** A file of one tensor of a stored type of two bytes per value. */
function halfFile(dtype: 'F16' | 'BF16', name: string, shape: number[], bits: number[]): Uint8Array {
  const header = new TextEncoder().encode(JSON.stringify({ [name]: { dtype, shape, data_offsets: [0, 2 * bits.length] } }));
  const bytes = new Uint8Array(8 + header.length + 2 * bits.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(header, 8);
  bits.forEach((value, i) => new DataView(bytes.buffer).setUint16(8 + header.length + 2 * i, value, true));
  return bytes;
}

describe('loadParameters', () => {
  it('reads names and layouts of another code', async () => {
    const theirs = {
      q: counted([1, 3]),
      k: counted([1, 3], 3),
      'net/b': counted([2]),
      'net/c': counted([1, 3, 1, 2]),
      mask: counted([9]),
    };
    const names: Record<string, string | string[]> = { 'layer.weight': ['q', 'k'], 'layer.bias': 'net/b', 'conv.weight': 'net/c' };
    const options: LoadOptions = {
      rename: (name) => names[name]!,
      layout: (name) => (name === 'conv.weight' ? 'flax-convolution' : 'same'),
      ignore: /^mask$/,
    };
    const leaves = flattenTree(load(theirs, options));
    expectClose(leaves['layer.weight']!, own['layer.weight']);
    // [h, w, in, out] = [1, 3, 1, 2] holds 2j + o, and [out, in, h, w] = [2, 1, 1, 3] lists j for each o.
    expectClose(leaves['conv.weight']!, { dtype: 'float32', shape: [2, 1, 1, 3], data: Float32Array.of(0, 2, 4, 1, 3, 5) });
    tf.dispose(leaves);
    await expectNoLeak(() => disposeTree(load(theirs, options)));
  });

  it.each([
    ['F16', [0x3c00, 0xc000, 0x0001], [1, -2, 2 ** -24]],
    ['BF16', [0x3f80, 0xc000, 0x7f7f], [1, -2, 3.3895313892515355e38]],
  ] as const)('widens %s files', (dtype, bits, values) => {
    const { tensors } = parseSafetensors(halfFile(dtype, 'w', [3], [...bits]), 'half');
    const { w } = flattenTree(loadParameters({ w: { shape: [3], init: 'zeros' } }, tensors, {}, 'load'));
    expectClose(w!, values.map(Math.fround));
    w!.dispose();
  });

  it('names everything that does not fit in one sentence, and leaves no tensor', async () => {
    const { 'layer.bias': bias, ...rest } = own;
    await expectNoLeak(() => {
      expect(() => load({ ...rest, 'layers.bias': bias, 'conv.weight': counted([3, 1, 1, 2]), other: counted([1]) })).toThrow(
        'load: wanted the tensors of the model, got a state dict with missing layer.bias; not of this model layers.bias, other; ' +
          "misshapen conv.weight (wanted float32 [2, 1, 1, 3], got float32 [3, 1, 1, 2]); nearest names: 'layers.bias' is nearest to 'layer.bias', ",
      );
    });
    expect(() => load({ ...own, 'layer.bias': { dtype: 'int32', shape: [2], data: Int32Array.of(1, 2) } })).toThrow(
      'misshapen layer.bias (wanted float32 [2], got int32 [2])',
    );
    expect(() => load({})).toThrow('missing layer.weight, layer.bias, conv.weight');
  });
});
