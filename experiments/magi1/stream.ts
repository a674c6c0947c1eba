import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { chunkPlan, streamVideo, type ChunkPlan, type MagiConfig, type MagiParams, type StreamOptions } from '@atelier/magi1';
import { encodeSafetensors, parseSafetensors, tf, toHost } from '@atelier/tensor';
import { readSafetensors } from '@atelier/tensor/node';
import { onDisk } from '../src/runner/errors.ts';
import type { Progress } from '../src/runner/experiment.ts';
import { writeFile } from '../src/runner/write-file.ts';

/** A chunk of a stream as it lies on the disk: its values [c·H·W], the time since the one before in ms, resident memory in MiB, and the number of tensors. */
export type KeptChunk = { values: Float32Array; ms: number; memory: number; tensors: number };

/**
 * Streams a video into a folder: `chunk-000000.safetensors`, … as they come, and after each of them `session.safetensors`. Called again on the same folder, it
 * goes on after the last chunk that is kept, bit for bit. Returns all chunks of the video.
 *
 * @throws Error if the session is damaged, or of another model or video; then no file is changed. The reason of the signal, if it is aborted
 */
export async function streamToFolder(
  folder: string,
  { params, config, progress, ...options }: StreamOptions & { params: MagiParams; config: MagiConfig; progress: Progress },
  onChunk: (chunk: number, values: Float32Array) => Promise<void> = () => Promise.resolve(),
): Promise<KeptChunk[]> {
  const plan = chunkPlan(options.schedule);
  const path = join(folder, 'session.safetensors');
  const session = existsSync(path) ? onDisk(path, () => new Uint8Array(readFileSync(path))) : undefined;
  const forwards = session ? Number(parseSafetensors(session, path).metadata['forward']) : 0;
  const chunks: KeptChunk[] = [];
  const kept = forwards < plan.steps ? 0 : Math.floor((forwards - plan.steps) / plan.perStage) + 1;
  for (let chunk = 0; chunk < kept; chunk++) chunks.push(await readChunk(chunkPath(folder, chunk)));
  progress.start('stream', plan.forwards, forwards);
  let from = performance.now();
  const stream = streamVideo(params, config, {
    ...options,
    ...(session && { session }),
    onForward: ({ state }) => progress.update(state.forward, {}, staircaseText(plan, state.forward)),
  });
  try {
    for await (const { chunk, frames, save } of stream) {
      const { data, shape } = await toHost(frames);
      frames.dispose();
      const values = data as Float32Array;
      const facts = { ms: performance.now() - from, memory: process.memoryUsage.rss() / 2 ** 20, tensors: tf.memory().numTensors };
      const metadata = Object.fromEntries(Object.entries(facts).map(([name, value]) => [name, String(value)]));
      await writeFile(chunkPath(folder, chunk), encodeSafetensors({ frames: { dtype: 'float32', shape, data: values } }, metadata));
      await writeFile(path, await save());
      await onChunk(chunk, values);
      chunks.push({ values, ...facts });
      from = performance.now();
    }
  } finally {
    progress.stop();
  }
  return chunks;
}

const chunkPath = (folder: string, chunk: number): string => join(folder, `chunk-${String(chunk).padStart(6, '0')}.safetensors`);

async function readChunk(path: string): Promise<KeptChunk> {
  const { tensors, metadata } = await readSafetensors(path);
  const [ms, memory, tensors_] = ['ms', 'memory', 'tensors'].map((name) => Number(metadata[name])) as [number, number, number];
  return { values: tensors['frames']!.data as Float32Array, ms, memory, tensors: tensors_ };
}

/** Which chunks are in the window after so many forwards, and how many steps each has taken: `chunks 3-6: 15 11 7 3 of 16`. */
export function staircaseText(plan: Pick<ChunkPlan, 'chunks' | 'cleanChunks' | 'perStage' | 'steps'>, forwards: number): string {
  const taken = (chunk: number): number => forwards - (chunk - plan.cleanChunks) * plan.perStage;
  const window = Array.from({ length: plan.chunks - plan.cleanChunks }, (_, i) => plan.cleanChunks + i).filter(
    (chunk) => taken(chunk) > 0 && taken(chunk) <= plan.steps,
  );
  if (window.length === 0) return '';
  return `chunks ${window[0]! + 1}-${window.at(-1)! + 1}: ${window.map(taken).join(' ')} of ${plan.steps}`;
}
