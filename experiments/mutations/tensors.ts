import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeSafetensors, parseSafetensors, Rng, type HostTensor, type Safetensors } from '@atelier/tensor';
import { readSafetensors } from '@atelier/tensor/node';
import { CheckpointFolder } from '../src/runner/checkpoint.ts';
import type { Checkpoint } from '../src/runner/experiment.ts';
import { mergeSamples } from '../src/sweep/sample-shards.ts';
import { tf } from '@atelier/tensor';
import type { MutatedKind } from './read.ts';
import type { Mutator } from './mutator.ts';
import { wrongJson } from './settings.ts';

const float = (shape: number[], seed: string): HostTensor => ({
  dtype: 'float32',
  shape,
  data: new Rng(seed).normals(shape.reduce((a, b) => a * b, 1)),
});
const whole = (values: number[]): HostTensor => ({ dtype: 'int32', shape: [values.length], data: Int32Array.from(values) });

type Entry = { dtype: string; shape: number[]; data_offsets: [number, number] };
const SIZES: Readonly<Record<string, number>> = { F32: 4, F64: 8, F16: 2, BF16: 2, I64: 8, I32: 4, U8: 1, I8: 1, BOOL: 1 };

/** The header of a safetensors file, and where its values begin. */
function header(file: Uint8Array): { text: string; entries: Record<string, Entry>; begin: number } {
  const begin = 8 + Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const text = Buffer.from(file.subarray(8, begin)).toString('utf8');
  return { text, entries: JSON.parse(text) as Record<string, Entry>, begin };
}

/** Reads a file by its definition, value by value, and compares: names, shapes, every value, every byte in exactly one tensor. */
function wrongTensors(file: Uint8Array, { tensors, metadata }: Safetensors): string | undefined {
  const { text, entries, begin } = header(file);
  const twice = wrongJson(text);
  if (twice !== undefined) return twice;
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const names = Object.keys(entries).filter((name) => name !== '__metadata__');
  if (names.length !== Object.keys(tensors).length) return `${names.length} tensors in the header, ${Object.keys(tensors).length} read`;
  if (JSON.stringify(entries['__metadata__'] ?? {}) !== JSON.stringify(metadata)) return 'other metadata than in the header';
  const owners = new Uint8Array(file.length - begin);
  for (const name of names) {
    const { dtype, shape, data_offsets: [from, to] } = entries[name]!; // prettier-ignore
    const { data, shape: found } = tensors[name]!;
    const count = shape.reduce((a, b) => a * b, 1);
    if (shape.join() !== found.join() || data.length !== count || to - from !== count * SIZES[dtype]!) return `'${name}' with another size`;
    for (let i = from; i < to; i++) owners[i]!++;
    for (let i = 0; i < count; i++) {
      const value = valueAt(view, dtype, begin + from + i * SIZES[dtype]!);
      if (!Object.is(Math.fround(value), Math.fround(data[i] as number)) && !(dtype.startsWith('I') && value === data[i]))
        return `'${name}': ${data[i]} at ${i}, wanted ${value}`;
    }
  }
  return owners.every((count) => count === 1) ? undefined : 'bytes that belong to no tensor, or to two';
}

function valueAt(view: DataView, dtype: string, at: number): number {
  switch (dtype) {
    case 'F32':
      return view.getFloat32(at, true);
    case 'F64':
      return view.getFloat64(at, true);
    case 'I32':
      return view.getInt32(at, true);
    case 'I64':
      return Number(view.getBigInt64(at, true));
    case 'I8':
      return view.getInt8(at);
    case 'BF16':
    case 'F16': {
      const bits = view.getUint16(at, true);
      const [exponents, fractions] = dtype === 'F16' ? [5, 10] : [8, 7];
      const [exponent, fraction] = [(bits >> fractions) & (2 ** exponents - 1), (bits & (2 ** fractions - 1)) / 2 ** fractions];
      const sign = bits & 0x8000 ? -1 : 1;
      const bias = 2 ** (exponents - 1) - 1;
      if (exponent === 2 ** exponents - 1) return fraction === 0 ? sign * Infinity : NaN;
      return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias);
    }
    default:
      return view.getUint8(at);
  }
}

/** A file with every stored type. */
function everyType(): Uint8Array {
  const values = new Rng('bytes').integers(64, 0, 2);
  let size = 0;
  const entries = Object.entries(SIZES).map(([dtype, bytes]) => [`layer.${dtype}`, { dtype, shape: [2, 1], data_offsets: [size, (size += 2 * bytes)] }]); // prettier-ignore
  const json = new TextEncoder().encode(JSON.stringify({ __metadata__: { format: 'pt' }, ...Object.fromEntries(entries) }));
  const out = new Uint8Array(8 + json.length + size);
  new DataView(out.buffer).setBigUint64(0, BigInt(json.length), true);
  out.set(json, 8);
  out.set(Uint8Array.from(values.subarray(0, size)), 8 + json.length);
  return out;
}

/** The file with changed bytes, or with a changed header whose length is right. */
function mutatedTensors(mutator: Mutator, file: Uint8Array): Uint8Array<ArrayBuffer> {
  if (mutator.below(2) === 0) return mutator.bytes(file);
  const { entries, begin } = header(file);
  const json = new TextEncoder().encode(mutator.json(entries));
  const out = new Uint8Array(8 + json.length + file.length - begin);
  new DataView(out.buffer).setBigUint64(0, BigInt(json.length), true);
  out.set(json, 8);
  out.set(file.subarray(begin), 8 + json.length);
  return out;
}

export const safetensors: MutatedKind = {
  name: 'safetensors',
  share: 14,
  async open() {
    const files = [everyType(), encodeSafetensors({ a: float([2, 3], 'a'), b: whole([1, 2]), 'c.d': float([0, 4], 'c') }, { k: 'v' })];
    return (mutator) => {
      const file = mutatedTensors(mutator, mutator.pick(files));
      return { input: file, read: () => parseSafetensors(file, 'file'), wrong: (found: Safetensors) => wrongTensors(file, found) };
    };
  },
};

export const shardedSafetensors: MutatedKind = {
  name: 'safetensors in shards',
  share: 5,
  async open(folder) {
    const [one, two] = [{ a: float([2, 3], 'a') }, { b: whole([1, 2]), c: float([2], 'c') }];
    const index = { metadata: { total_size: 40 }, weight_map: { a: 'one.safetensors', b: 'two.safetensors', c: 'two.safetensors' } };
    const path = join(folder, 'model.safetensors.index.json');
    writeFileSync(join(folder, 'one.safetensors'), encodeSafetensors(one));
    const second = encodeSafetensors(two);
    return (mutator) => {
      const text = mutator.below(3) > 0 ? mutator.json(index) : JSON.stringify(index);
      const file = text === JSON.stringify(index) ? mutatedTensors(mutator, second) : second;
      return {
        input: text + Buffer.from(file).toString('latin1'),
        read: async () => {
          writeFileSync(path, text);
          writeFileSync(join(folder, 'two.safetensors'), file);
          return readSafetensors(path);
        },
        wrong: ({ tensors }: Safetensors) => {
          const { weight_map: map } = JSON.parse(text) as typeof index;
          const names = Object.keys(map);
          if (names.sort().join() !== Object.keys(tensors).sort().join()) return 'other tensors than the index names';
          const twoTensors = Object.fromEntries(Object.entries(tensors).filter(([name]) => map[name as 'a'] === 'two.safetensors'));
          if (Object.keys(twoTensors).length === 0) return wrongJson(text);
          const { entries } = header(file);
          return wrongJson(text) ?? wrongTensors(file, { tensors: twoTensors, metadata: (entries['__metadata__'] ?? {}) as never });
        },
      };
    };
  },
};

export const checkpoints: MutatedKind = {
  name: 'checkpoint of a run',
  share: 6,
  async open(folder) {
    const { readFile } = await import('node:fs/promises');
    const place = new CheckpointFolder(folder);
    const weight = tf.tensor2d([1, 2, 3, 4], [2, 2]);
    const state = { step: 7, at: 'x', list: [1, 2.5] };
    await place.save('first', { params: { weight } }, state);
    weight.dispose();
    const valid = new Uint8Array(await readFile(place.path('first')));
    return (mutator) => {
      const file = mutatedTensors(mutator, valid);
      return {
        input: file,
        read: () => {
          writeFileSync(place.path('first'), file);
          return place.load('first');
        },
        wrong: ({ state: found, tensors }: Checkpoint) => {
          if (JSON.stringify(found) !== JSON.stringify(state)) return 'another state';
          return [...tensors['params.weight']!.data].join() === '1,2,3,4' ? undefined : 'other weights';
        },
      };
    };
  },
};

export const sampleShards: MutatedKind = {
  name: 'shards of samples',
  share: 6,
  async open(folder) {
    const common = { format: 'atelier-samples-1', run: 'r', config: 'c', model: 'm', n: '4', steps: '1', seed: '0', classes: '' };
    const shard = (index: number[], part: string): Uint8Array =>
      encodeSafetensors({ samples: float([2, 2, 1], part), index: whole(index), y: whole([0, 1]) }, { ...common, shard: part });
    const [one, two, out] = ['one', 'two', 'out'].map((name) => join(folder, `${name}.safetensors`)) as [string, string, string];
    const [first, second] = [shard([0, 2], '1/2'), shard([1, 3], '2/2')];
    writeFileSync(one, first);
    return (mutator) => {
      const file = mutatedTensors(mutator, second);
      return {
        input: file,
        read: async () => {
          writeFileSync(two, file);
          await mergeSamples([one, two], out);
          return readSafetensors(out);
        },
        wrong: ({ tensors }: Safetensors) => {
          const parts = [first, file].map((bytes) => parseSafetensors(bytes, 'part').tensors);
          const samples = tensors['samples']!;
          if (samples.shape[0] !== 4) return `${samples.shape[0]} samples`;
          const size = samples.data.length / 4;
          for (const [p, part] of parts.entries())
            for (const [row, index] of [...part['index']!.data].entries())
              for (let i = 0; i < size; i++)
                if (!Object.is(part['samples']!.data[row * size + i], samples.data[Number(index) * size + i]))
                  return `sample ${index} differs from that of part ${p + 1}`;
          return undefined;
        },
      };
    };
  },
};
