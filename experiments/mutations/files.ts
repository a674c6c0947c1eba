import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { cifar10, parseIdx, type IdxArray } from '@atelier/datasets/node';
import { encodeNpz, parseNpz, parseStatistics, type GaussianMoments, type NpyArray } from '@atelier/metrics';
import type { ImageSet } from '@atelier/datasets';
import { compile, Rng, tf, useEngine, type HostTensor, type Tensor } from '@atelier/tensor';
import { openFeatures } from '../src/evaluation/onnx-features.ts';
import { lineChart } from '../src/pictures/line-chart.ts';
import { figuresOf, stepPicturesOf } from '../src/runner/run-data.ts';
import { mkdirSync } from 'node:fs';
import type { MutatedKind } from './read.ts';

const bytesOf = (count: number, seed: string, below = 256): Uint8Array => Uint8Array.from(new Rng(seed).integers(count, 0, below));

export const idx: MutatedKind = {
  name: 'IDX, plain and gzipped',
  share: 8,
  async open() {
    const head = Uint8Array.from([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]);
    const plain = Uint8Array.from([...head, ...bytesOf(24, 'idx')]);
    const packed = new Uint8Array(gzipSync(plain));
    return (mutator) => {
      const file = mutator.bytes(mutator.pick([plain, packed]));
      return {
        input: file,
        read: () => parseIdx({ bytes: file, where: 'file' }, 3),
        wrong: ({ dims, data }: IdxArray) => {
          const bytes = file[0] === 0x1f ? new Uint8Array(gunzipSync(file)) : file;
          const view = new DataView(bytes.buffer, bytes.byteOffset);
          const sizes = [4, 8, 12].map((at) => view.getInt32(at));
          if (view.getInt32(0) !== 0x803 || sizes.join() !== dims.join()) return 'another header';
          if (sizes.some((size) => size < 1) || bytes.length !== 16 + sizes[0]! * sizes[1]! * sizes[2]!) return 'another number of bytes';
          return Buffer.compare(bytes.subarray(16), data) === 0 ? undefined : 'other values';
        },
      };
    };
  },
};

export const cifar: MutatedKind = {
  name: 'CIFAR-10',
  share: 4,
  async open(folder) {
    const [records, size] = [2, 3073];
    const valid = bytesOf(records * size, 'cifar');
    for (let i = 0; i < records; i++) valid[i * size] = 3 + i;
    const path = join(folder, 'test_batch.bin');
    return (mutator) => {
      const file = mutator.bytes(valid);
      return {
        input: file,
        read: () => {
          writeFileSync(path, file);
          return cifar10('test', { dataDir: folder });
        },
        wrong: ({ count, pixels, labels }: ImageSet) => {
          if (count * size !== file.length || count === 0) return `${count} records in ${file.length} bytes`;
          for (let i = 0; i < count; i++) {
            if (labels[i] !== file[i * size] || labels[i]! > 9) return `the label ${labels[i]}`;
            for (let k = 0; k < 3072; k++)
              if (pixels[i * 3072 + 3 * (k % 1024) + Math.floor(k / 1024)] !== file[i * size + 1 + k]) return 'other pixels';
          }
          return undefined;
        },
      };
    };
  },
};

/** The header of an `.npy` entry as Python writes it; what is not quite so has no certain meaning. */
const NPY =
  /^\s*\{\s*'descr'\s*:\s*'([<|]\w\d)'\s*,\s*'fortran_order'\s*:\s*(True|False)\s*,\s*'shape'\s*:\s*\((\s*|\s*\d+\s*,\s*|(?:\s*\d+\s*,)+\s*\d+\s*,?\s*)\)\s*,?\s*\}\s*$/;

function npy(header: string, values: Uint8Array): Uint8Array {
  const text = new TextEncoder().encode(header);
  return Uint8Array.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, text.length & 255, text.length >> 8, ...text, ...values]);
}

export const npz: MutatedKind = {
  name: 'npz',
  share: 8,
  async open() {
    const { zipSync } = await import('fflate');
    const arrays: Record<string, NpyArray> = {
      mu: { shape: [2], data: Float64Array.from([1, 2]) },
      n: { shape: [2, 1], data: Uint8Array.from([3, 4]) },
    };
    const entries = {
      'mu.npy': npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }   \n", new Uint8Array(Float64Array.from([1, 2]).buffer)),
    };
    const valid = [encodeNpz(arrays), zipSync(entries, { level: 6 }), zipSync(entries, { level: 0 })];
    const header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }  \n";
    return (mutator) => {
      const inside = mutator.below(2) === 0;
      const text = mutator.text(header);
      const values = mutator.below(3) === 0 ? mutator.bytes(bytesOf(6, 'npy')) : bytesOf(6, 'npy');
      const file = inside ? zipSync({ 'a.npy': npy(text, values) }) : mutator.bytes(mutator.pick(valid));
      return {
        input: inside ? `${text} ${values.join()}` : file,
        read: () => parseNpz(file, 'file'),
        wrong: (found: Record<string, NpyArray>) => {
          // The archive has a checksum of every entry, so nothing else than what was packed may come out.
          if (!inside) {
            const other = Object.entries(found).find(
              ([name, { data }]) => data.join() !== (name === 'mu' ? '1,2' : name === 'n' ? '3,4' : ''),
            );
            return other === undefined ? undefined : `the array '${other[0]}' with the values ${other[1].data.join()}`;
          }
          const [, type, fortran, dims] = NPY.exec(text) ?? [];
          if (type === undefined || text.length > 65_535) return `an array with the header ${JSON.stringify(text.slice(0, 100))}`;
          const shape = (dims!.match(/\d+/g) ?? []).map(Number);
          const { a } = found;
          if (a === undefined || a.shape.join() !== shape.join() || a.data.byteLength !== values.length) return 'another shape';
          const straight = type === '|u1' && (fortran === 'False' || shape.length < 2);
          return !straight || a.data.join() === values.join() ? undefined : 'other values';
        },
      };
    };
  },
};

export const statistics: MutatedKind = {
  name: 'statistics for a Fréchet distance',
  share: 3,
  async open() {
    const values = [1, 2, 2, 0.5, 0.5, 3];
    return (mutator) => {
      const changed = values.map((value) => (mutator.below(4) === 0 ? mutator.pick([NaN, Infinity, -1, 0, 1e300, 7]) : value));
      const arrays: Record<string, NpyArray> = {
        [mutator.pick(['mu', 'mu', 'mu', 'toString', '__proto__'])]: {
          shape: mutator.pick([[2], [2], [2], [1, 2], [2, 1]]),
          data: mutator.pick([Float64Array, Float32Array, Int32Array]).from(changed.slice(0, 2)),
        },
        [mutator.pick(['sigma', 'sigma', 'sigma', 'constructor'])]: {
          shape: mutator.pick([[2, 2], [2, 2], [4], [1, 4]]),
          data: Float64Array.from(changed.slice(2)),
        },
      };
      const file = encodeNpz(arrays);
      return {
        input: file,
        read: () => parseStatistics(file, 'file'),
        wrong: ({ mean, covariance }: GaussianMoments) => {
          if (mean.length !== 2 || covariance.length !== 4) return 'another size';
          if (![...mean, ...covariance].every(Number.isFinite)) return 'numbers that are not finite';
          if (covariance[1] !== covariance[2] || covariance[0]! < 0 || covariance[3]! < 0) return 'a covariance that none can be';
          return undefined;
        },
      };
    };
  },
};

export const features: MutatedKind = {
  name: 'ONNX file of features',
  share: 3,
  async open(folder) {
    await useEngine();
    const run = compile((x: Tensor) => tf.tidy(() => tf.reshape(tf.mean(tf.square(x), [2, 3]), [2, 3])), { argumentNames: ['images'] });
    const x = tf.zeros([2, 3, 4, 4]);
    const valid = run.onnx(x);
    x.dispose();
    run.dispose();
    const images: HostTensor = { dtype: 'float32', shape: [2, 4, 4, 3], data: new Rng('images').normals(96) };
    const path = join(folder, 'features.onnx');
    return (mutator) => {
      const file = mutator.bytes(valid);
      return {
        input: file,
        read: async () => {
          writeFileSync(path, file);
          return (await openFeatures(path, '0..1')).features(images);
        },
        wrong: (found: Float32Array) => (found.length % 2 === 0 && found.length > 0 ? undefined : `${found.length} features of 2 images`),
      };
    };
  },
};

export const pictures: MutatedKind = {
  name: 'pictures and captions of a run',
  share: 5,
  async open(folder) {
    const { png, svg, width } = lineChart([{ name: 'a', points: [[0, 1], [1, 2]] }]); // prettier-ignore
    for (const place of ['samples', 'figures']) mkdirSync(join(folder, place));
    writeFileSync(join(folder, 'figures', 'b.svg'), svg!);
    const captions = { a: 'a caption', b: 'another' };
    return (mutator) => {
      const [file, text] = mutator.below(2) === 0 ? [mutator.bytes(png.subarray(0, 200)), JSON.stringify(captions)] : [png, mutator.json(captions)]; // prettier-ignore
      return {
        input: file === png ? text : file,
        read: () => {
          for (const place of ['samples/a-step-000001.png', 'figures/a.png', 'figures/b.png']) writeFileSync(join(folder, place), file);
          writeFileSync(join(folder, 'figures', 'captions.json'), text);
          return [...stepPicturesOf(folder), ...figuresOf(folder)];
        },
        wrong: (found: { name: string; width: number }[]) => {
          const size = Buffer.from(file).subarray(0, 8).toString('latin1') === '\x89PNG\r\n\x1a\n' && Buffer.from(file).subarray(12, 16).toString() === 'IHDR'; // prettier-ignore
          if (!size && found.length > 0) return 'a picture that is no PNG';
          const wanted = file === png ? width : Math.round(new DataView(file.buffer).getUint32(16) / 2);
          const odd = found.find((one) => one.width !== wanted || wanted === 0);
          return odd === undefined ? undefined : `'${odd.name}' with a width of ${odd.width}, wanted ${wanted}`;
        },
      };
    };
  },
};
