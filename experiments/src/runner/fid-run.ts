import { readFileSync } from 'node:fs';
import { encodeStatistics, frechetDistanceOfGaussians, gaussianMoments, parseStatistics } from '@atelier/metrics';
import { checkNumber, unknown, type HostTensor } from '@atelier/tensor';
import { openFeatures, valueRanges, type ValueRange } from '../evaluation/onnx-features.ts';
import { numberText } from './number-text.ts';
import { drawInParts, type DrawRequest, type OpenedRun } from './draw.ts';
import { onDisk, StopError } from './errors.ts';
import type { Progress } from './experiment.ts';
import { writeFile } from './write-file.ts';

/** What `atelier fid` is asked for. */
export interface FidRequest extends DrawRequest {
  /** ONNX file of the network that makes features. */
  readonly features: string;
  /** The values that this network wants, `0..1` if absent. */
  readonly range?: string | undefined;
  /** `.npz` file with the statistics `mu` and `sigma` of the true images. */
  readonly reference?: string | undefined;
  /** Where the statistics of the samples are written. */
  readonly save?: string | undefined;
}

/**
 * `atelier fid`: the Fréchet distance between samples of a run and statistics of true images, in the features of a network that the user has. With the
 * InceptionV3 of the official programs and their statistics it is the FID; without a reference it only writes the statistics of the samples.
 *
 * @returns what to say
 */
export async function fidRun(opened: OpenedRun, request: FidRequest, progress: Progress): Promise<string[]> {
  const { drawer, name } = opened;
  const { n, features: path, reference, save } = request;
  const range = (request.range ?? '0..1') as ValueRange;
  checkNumber('fid: n', n, { integer: true, min: 2, max: 1_000_000 });
  if (!(range in valueRanges)) throw new StopError(unknown('range', range, Object.keys(valueRanges)));
  if (drawer.shape.length !== 3)
    throw new StopError(`fid: wanted a network that draws images, got '${name}', whose samples are [${drawer.shape.join(', ')}]`);
  if (reference === undefined && save === undefined)
    throw new StopError('fid: wanted --reference <stats.npz>, or --save <stats.npz>, got neither');
  const wanted =
    reference === undefined
      ? undefined
      : parseStatistics(
          onDisk(reference, () => new Uint8Array(readFileSync(reference))),
          reference,
        );
  const extractor = await openFeatures(path, range);
  const found: Float32Array[] = [];
  progress.start('fid', n);
  for await (const { from, count, samples } of drawInParts(opened, request)) {
    // A file of features may have a fixed number of images, so the last part is cut after it.
    const features = await extractor.features(inRange(samples, drawer.range));
    found.push(features.subarray(0, (features.length / samples.shape[0]!) * count));
    progress.update(from + count);
  }
  progress.stop();
  const dim = found.reduce((sum, { length }) => sum + length, 0) / n;
  const all = new Float32Array(n * dim);
  found.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  const moments = gaussianMoments(all, dim);
  const lines: string[] = [];
  if (save !== undefined) {
    await writeFile(save, encodeStatistics(moments));
    lines.push(`statistics of ${n} samples in ${dim} features: ${save}`);
  }
  if (wanted !== undefined) {
    if (wanted.mean.length !== dim)
      throw new StopError(`${reference}: wanted statistics of the ${dim} features of ${path}, got ${wanted.mean.length}`);
    const distance = frechetDistanceOfGaussians(moments, wanted);
    lines.push(`Fréchet distance of ${n} samples of '${name}' in ${dim} features: ${numberText(distance)}`);
    if (n <= dim) lines.push(`with ${n} samples for ${dim} features the distance is far too large; papers use 50000 samples`);
  }
  return lines;
}

/** Values in a range of their own, in [-1, 1]. */
function inRange(samples: HostTensor, range: readonly [number, number] = [-1, 1]): HostTensor {
  const [low, high] = range;
  if (low === -1 && high === 1) return samples;
  return { ...samples, data: (samples.data as Float32Array).map((value) => (2 * (value - low)) / (high - low) - 1) };
}
