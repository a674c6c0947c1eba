import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { checkNumber, shown, type HostTensor } from '@atelier/tensor';
import { readSafetensors, writeSafetensors } from '@atelier/tensor/node';
import { drawInParts, firstRows, partsOf, type DrawRequest, type OpenedRun } from '../runner/draw.ts';
import { diskError, onDisk, StopError } from '../runner/errors.ts';
import { ofShard, type Shard } from './shard.ts';

const FORMAT = 'atelier-samples-1';
/** What all shards of one set of samples have in common. */
const COMMON = ['format', 'run', 'config', 'model', 'n', 'steps', 'seed', 'classes'] as const;

/**
 * `atelier sample --shard i/n`: draws the samples of one part and writes them as safetensors: `samples` [k, …], their numbers `index` [k], and their classes `y` [k]. A sample is the same,
 * bit for bit, however many shards there are.
 *
 * @returns what to say
 */
export async function sampleShard(opened: OpenedRun, request: DrawRequest, shard: Shard, out?: string): Promise<string> {
  const { folder, name, drawer } = opened;
  const { n } = request;
  checkNumber(`sample of '${name}': n`, n, { integer: true, min: 1, max: 1_000_000 });
  if (out !== undefined && !out.endsWith('.safetensors'))
    throw new StopError(`sample: out: wanted a file that ends with .safetensors for a shard, got ${shown(out)}`);
  const parts = ofShard(
    Array.from({ length: partsOf(n) }, (_, i) => i),
    shard,
  );
  if (parts.length === 0)
    throw new StopError(`sample: ${n} samples are drawn in ${partsOf(n)} parts, so shard ${shard.index}/${shard.count} would be empty`);
  const rows: { index: number; samples: HostTensor; labels: HostTensor | undefined }[] = [];
  let steps = 0;
  for await (const { from, count, samples, labels, steps: taken } of drawInParts(opened, request, parts)) {
    rows.push({ index: from, samples: firstRows(samples, count), labels: labels && firstRows(labels, count) });
    steps = taken;
  }
  const index = rows.flatMap(({ index: from, samples }) => Array.from({ length: samples.shape[0]! }, (_, i) => from + i));
  const path = out ?? join(folder.path, 'drawn', `${name}-${shard.index}-of-${shard.count}.safetensors`);
  const labels = rows.flatMap((row) => row.labels ?? []);
  await writeSamples(
    path,
    {
      samples: joined(rows.map(({ samples }) => samples)),
      index: { dtype: 'int32', shape: [index.length], data: Int32Array.from(index) },
      ...(labels.length > 0 && { y: joined(labels) }),
    },
    {
      format: FORMAT,
      run: folder.record.id,
      config: folder.record.configHash,
      model: name,
      n: String(n),
      steps: drawer.steps === undefined ? '' : String(steps),
      seed: String(request.seed),
      classes: request.classes ?? '',
      shard: `${shard.index}/${shard.count}`,
    },
  );
  return `${index.length} of ${n} samples of '${name}', shard ${shard.index}/${shard.count}, seed ${request.seed}: ${path}`;
}

/**
 * Puts the shards of one set of samples together, in the order of the samples.
 *
 * @throws StopError that names what differs between the files, or the first sample that is missing or there twice
 */
export async function mergeSamples(paths: readonly string[], out: string): Promise<string[]> {
  const files = [];
  for (const path of paths) files.push({ path, ...(await readSamples(path)) });
  const { metadata } = files[0]!;
  for (const other of files)
    for (const key of COMMON)
      if (other.metadata[key] !== metadata[key])
        throw new StopError(
          `merge: ${other.path}: '${key}' is ${shown(other.metadata[key])}, and ${shown(metadata[key])} in ${files[0]!.path}`,
        );
  const n = Number(metadata['n']);
  if (!Number.isSafeInteger(n) || n < 1 || n > 1_000_000)
    throw new StopError(`merge: ${files[0]!.path}: 'n': wanted a number of samples, got ${shown(metadata['n'])}`);
  const owner = new Map<number, { file: (typeof files)[number]; row: number }>();
  for (const file of files)
    for (const [row, index] of [...(file.tensors['index']!.data as Int32Array)].entries()) {
      if (index < 0 || index >= n) throw new StopError(`merge: ${file.path}: wanted samples 0 to ${n - 1}, got sample ${index}`);
      const twin = owner.get(index);
      if (twin !== undefined) throw new StopError(`merge: sample ${index} is there twice: in ${twin.file.path} and in ${file.path}`);
      owner.set(index, { file, row });
    }
  const missing = Array.from({ length: n }, (_, i) => i).filter((i) => !owner.has(i));
  if (missing.length > 0) throw new StopError(`merge: ${missing.length} of ${n} samples are missing, the first is sample ${missing[0]}`);
  const gather = (name: string): HostTensor =>
    joined(
      Array.from({ length: n }, (_, i) => {
        const { file, row } = owner.get(i)!;
        const { data, shape, dtype } = file.tensors[name]!;
        const size = shape.slice(1).reduce((a, b) => a * b, 1);
        return { dtype, shape: [1, ...shape.slice(1)], data: data.subarray(row * size, (row + 1) * size) } as HostTensor;
      }),
    );
  const { shard: _, ...common } = metadata;
  const tensors = { samples: gather('samples'), ...(files.every(({ tensors: { y } }) => y !== undefined) && { y: gather('y') }) };
  await writeSamples(out, tensors, common);
  return [`${n} samples of '${metadata['model']}' from ${files.length} files, none missing, none twice: ${out}`];
}

async function readSamples(path: string): ReturnType<typeof readSafetensors> {
  let file: Awaited<ReturnType<typeof readSafetensors>>;
  try {
    file = await readSafetensors(path);
  } catch (error) {
    throw diskError(path, error);
  }
  const { tensors, metadata } = file;
  if (metadata['format'] !== FORMAT || metadata['shard'] === undefined)
    throw new StopError(
      `merge: ${path}: wanted a file of 'atelier sample --shard', got one of format ${shown(metadata['format'] ?? 'none')}`,
    );
  const { samples, index, y } = tensors;
  const rows = index?.shape[0];
  if (
    index?.dtype !== 'int32' ||
    index.shape.length !== 1 ||
    samples?.shape[0] !== rows ||
    (y !== undefined && y.shape.join() !== String(rows))
  )
    throw new StopError(`merge: ${path}: wanted tensors 'samples' and 'index' with one row for each sample`);
  return file;
}

async function writeSamples(path: string, tensors: Record<string, HostTensor>, metadata: Record<string, string>): Promise<void> {
  onDisk(path, () => mkdirSync(dirname(path), { recursive: true }));
  try {
    await writeSafetensors(path, tensors, metadata);
  } catch (error) {
    throw diskError(path, error);
  }
}

/** Tensors that differ in their first size alone, one after the other. @throws StopError if they differ in another */
function joined(parts: readonly HostTensor[]): HostTensor {
  const [first] = parts;
  const { dtype, shape } = first!;
  for (const part of parts)
    if (part.dtype !== dtype || part.shape.slice(1).join() !== shape.slice(1).join())
      throw new StopError(
        `merge: wanted samples of one shape, got [${part.shape.slice(1).join(', ')}] beside [${shape.slice(1).join(', ')}]`,
      );
  const rows = parts.reduce((sum, part) => sum + part.shape[0]!, 0);
  const size = parts.reduce((sum, { data }) => sum + data.length, 0);
  const data = dtype === 'float32' ? new Float32Array(size) : new Int32Array(size);
  parts.reduce((at, part) => (data.set(part.data as never, at), at + part.data.length), 0);
  return { dtype, shape: [rows, ...shape.slice(1)], data } as HostTensor;
}
