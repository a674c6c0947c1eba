import { createRequire } from 'node:module';
import { tf, type HostTensor } from '@atelier/tensor';
import { sentence, StopError } from '../runner/errors.ts';

type Value = { readonly dims: readonly number[]; readonly data: ArrayLike<number> };
type Metadata = { readonly name: string; readonly type: string; readonly shape: readonly (number | string)[] };
type Session = {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly Metadata[];
  run(feeds: Record<string, unknown>): Promise<Record<string, Value>>;
};
type Ort = {
  Tensor: new (type: string, data: unknown, dims: readonly number[]) => unknown;
  InferenceSession: { create(path: string): Promise<Session> };
};

/** A network of the user's that turns images into features. */
interface FeatureExtractor {
  /** Images [n, H, W, C] in [-1, 1], C = 1 or 3 -> features [n, dim] flattened. */
  features(images: HostTensor): Promise<Float32Array>;
}

/** What an image value of -1 and of 1 becomes: how the network wants its input. */
export const valueRanges = { '0..1': [0, 1], '-1..1': [-1, 1], '0..255': [0, 255] } as const;
export type ValueRange = keyof typeof valueRanges;

/**
 * Opens an ONNX file with one input of images, [n, 3, H, W] or [n, H, W, 3], float32 or uint8, and features as its first output, [n, dim] or [n, dim, 1, 1]. If the sizes H
 * and W of the input are fixed, images are resized to them with straight lines between pixels; grey images are repeated in three channels.
 *
 * @param range the values that float32 inputs have; uint8 inputs have 0..255
 * @throws StopError that names the file and what is wrong with it
 */
export async function openFeatures(path: string, range: ValueRange): Promise<FeatureExtractor> {
  const ort = createRequire(createRequire(import.meta.url).resolve('@atelier/backend-ort'))('onnxruntime-node') as Ort;
  let session: Session;
  try {
    session = await ort.InferenceSession.create(path);
  } catch (error) {
    throw new StopError(`${path}: wanted an ONNX file, got: ${sentence(error)}`, { cause: error });
  }
  const [input] = session.inputMetadata;
  const axis = input?.shape.length === 4 ? [1, 3].find((at) => input.shape[at] === 3) : undefined;
  if (session.inputNames.length !== 1 || axis === undefined || !['float32', 'uint8'].includes(input!.type)) {
    const found = session.inputMetadata.map(({ type, shape }) => `${type} [${shape.join(', ')}]`).join(' and ');
    throw new StopError(`${path}: wanted one input, float32 or uint8, [n, 3, H, W] or [n, H, W, 3], got ${found}`);
  }
  const { name, type, shape } = input!;
  const sides = axis === 1 ? [shape[2]!, shape[3]!] : [shape[1]!, shape[2]!];
  const size = sides.every((side) => typeof side === 'number') ? (sides as [number, number]) : undefined;
  const [low, high] = type === 'uint8' ? valueRanges['0..255'] : valueRanges[range];
  return {
    async features(images) {
      const prepared = tf.tidy(() => {
        let x = tf.tensor4d(images.data as Float32Array, images.shape as [number, number, number, number]);
        if (x.shape[3] === 1) x = tf.tile(x, [1, 1, 1, 3]);
        if (size !== undefined && (x.shape[1] !== size[0] || x.shape[2] !== size[1])) x = tf.image.resizeBilinear(x, size, false, true);
        const scaled = tf.add(tf.mul(tf.clipByValue(x, -1, 1), (high - low) / 2), (high + low) / 2);
        return axis === 1 ? tf.transpose(scaled, [0, 3, 1, 2]) : scaled;
      });
      const values = (await prepared.data()) as Float32Array;
      const dims = prepared.shape;
      prepared.dispose();
      const data = type === 'uint8' ? Uint8Array.from(values, Math.round) : values;
      const out = (await session.run({ [name]: new ort.Tensor(type, data, dims) }))[session.outputNames[0]!]!;
      const n = images.shape[0]!;
      if (out.dims[0] !== n) throw new StopError(`${path}: wanted features [${n}, dim], got [${out.dims.join(', ')}]`);
      return Float32Array.from(out.data);
    },
  };
}
