import { tf, type Tensor } from '@atelier/tensor';
import type { LayerCache } from './attend.ts';
import type { Prompt } from './call.ts';
import { emittedFrames, pinnedFrames, plannedForward, type ChunkPlan, type PlannedForward } from './chunk-schedule.ts';

/** A chunk that is being denoised. The state owns its tensors. */
export type ActiveChunk = { chunk: number; z: Tensor; prompt?: Prompt };

/** Where a video stands between two forwards. It owns all of its tensors, and there are never more than fit the window and the cache. */
export type StreamState = {
  /** g, the next forward. */
  forward: number;
  active: ActiveChunk[];
  /** A finished chunk whose keys and values are not cached yet. */
  finished?: { chunk: number; z: Tensor };
  /** Keys and values of finished chunks, oldest first. */
  cache: { chunk: number; layers: LayerCache }[];
};

/** What a forward is asked for. Latents are [B, c, H, W, C]. */
export type ChunkRequest = {
  forward: PlannedForward;
  active: Tensor[];
  clean?: Tensor;
  /** Given frames [B, k, H, W, C], which replace the first k frames of chunk `at` of the call (the finished chunk counts). */
  pin?: { at: number; frames: Tensor };
  prompts: Prompt[];
  caches: LayerCache[];
};

/** Moves the active chunks one step on. The caller owns the results. */
export type ChunkDenoiser = (request: ChunkRequest) => { active: Tensor[]; cache?: LayerCache };

/** Where chunks come from. The caller of these functions owns what they return. */
export type ChunkSources = {
  /** Noise of a chunk, [B, c, H, W, C]. */
  noise: (chunk: number) => Tensor;
  prompt?: ((chunk: number) => Prompt) | undefined;
  /** Given frames at the start of the video, [B, prefixFrames, H, W, C]. */
  prefix?: Tensor | undefined;
  /**
   * What becomes of given frames inside a chunk that is denoised. The official code puts them in before every call, and moves them by the last step, so
   * that the first frame of a video from an image is not that image. `exact` gives the image.
   */
  pin: 'official' | 'exact';
  /** Whether the last windows are filled up with chunks beyond the end, so that their graphs are those of the full window. */
  fillWindow: boolean;
};

/** A finished chunk: its frames that are new [B, frames, H, W, C], the caller's to dispose. */
export type FinishedChunk = { chunk: number; frames: Tensor };

/** The state before the first forward. @param cache keys and values of the given chunks */
export const initialState = (cache: StreamState['cache'] = []): StreamState => ({ forward: 0, active: [], cache });

/**
 * Performs one forward. The given state is consumed: it must not be used again.
 *
 * @throws Error if the video is complete
 */
export function advanceChunks(
  plan: ChunkPlan,
  state: StreamState,
  sources: ChunkSources,
  denoise: ChunkDenoiser,
): { state: StreamState; finished?: FinishedChunk } {
  if (state.forward >= plan.forwards)
    throw new Error(`advanceChunks: wanted a video with forwards to come, got one that is complete after ${plan.forwards}`);
  // Beyond the end there are chunks that nobody sees.
  const wide = sources.fillWindow ? { ...plan, chunks: plan.chunks + plan.window - 1 } : plan;
  const forward = plannedForward({ ...wide, forwards: plan.forwards }, state.forward);
  const active = forward.active.map(({ chunk }) => state.active.find((at) => at.chunk === chunk) ?? enter(chunk, state, plan, sources));
  const first = forward.clean?.chunk ?? forward.active[0]!.chunk;
  const pinned = pinOf(plan, first, first + active.length + (forward.clean ? 0 : -1), sources.prefix);
  const moved = denoise({
    forward,
    active: active.map(({ z }) => z),
    ...(forward.clean && { clean: state.finished!.z }),
    ...(pinned && { pin: pinned }),
    prompts: active.flatMap(({ prompt }) => prompt ?? []),
    caches: state.cache.filter(({ chunk }) => chunk >= forward.cachedFrom && chunk < first).map(({ layers }) => layers),
  });
  pinned?.frames.dispose();
  for (const { z } of active) z.dispose();
  const next: StreamState = {
    forward: state.forward + 1,
    active: active.map((chunk, i) => ({ ...chunk, z: moved.active[i]! })),
    cache: state.cache,
  };
  if (forward.clean) {
    state.finished!.z.dispose();
    next.cache = keepLast(
      [...state.cache, ...(moved.cache ? [{ chunk: forward.clean.chunk, layers: moved.cache }] : [])],
      plan.cacheChunks,
    );
  } else if (state.finished) next.finished = state.finished;
  return forward.finishes === undefined ? { state: next } : finish(plan, next, sources);
}

/** A chunk enters the window. Chunks beyond the end take the prompt of the last one. */
function enter(chunk: number, state: StreamState, plan: ChunkPlan, { noise, prompt }: ChunkSources): ActiveChunk {
  if (chunk < plan.chunks) return { chunk, z: noise(chunk), ...(prompt && { prompt: prompt(chunk) }) };
  const last = state.active.at(-1)!;
  return {
    chunk,
    z: tf.zeros(last.z.shape),
    ...(last.prompt && { prompt: { features: last.prompt.features.clone(), mask: last.prompt.mask.clone() } }),
  };
}

/** The given frames of the call's chunks first … last, for the only chunk that can hold some. */
function pinOf(plan: ChunkPlan, first: number, last: number, prefix: Tensor | undefined): ChunkRequest['pin'] {
  const chunk = plan.cleanChunks;
  const count = pinnedFrames(plan, chunk);
  if (prefix === undefined || count === 0 || chunk < first || chunk > last) return undefined;
  const [B, , H, W, C] = prefix.shape as [number, number, number, number, number];
  return { at: chunk - first, frames: tf.slice(prefix, [0, chunk * plan.chunkFrames, 0, 0, 0], [B, count, H, W, C]) };
}

/** The oldest chunk leaves the window. */
function finish(plan: ChunkPlan, state: StreamState, { pin, prefix }: ChunkSources): { state: StreamState; finished: FinishedChunk } {
  const [oldest, ...younger] = state.active as [ActiveChunk, ...ActiveChunk[]];
  if (oldest.prompt) tf.dispose([oldest.prompt.features, oldest.prompt.mask]);
  const { chunk, z } = oldest;
  const frames = tf.tidy(() => {
    const given = pin === 'exact' ? pinOf(plan, chunk, chunk, prefix) : undefined;
    const whole = given ? pinFrames(z, given.frames) : z;
    const [B, , H, W, C] = whole.shape as [number, number, number, number, number];
    const kept = emittedFrames(plan, chunk);
    return tf.clone(kept === plan.chunkFrames ? whole : tf.slice(whole, [0, plan.chunkFrames - kept, 0, 0, 0], [B, kept, H, W, C]));
  });
  const next: StreamState = { ...state, active: younger };
  if (chunk + 1 < plan.chunks) next.finished = { chunk, z };
  else {
    z.dispose();
    disposeState({ ...next, cache: state.cache });
    next.active = [];
    next.cache = [];
  }
  return { state: next, finished: { chunk, frames } };
}

/** z with other first frames: [B, c, H, W, C] and [B, k, H, W, C] -> [B, c, H, W, C]. */
export function pinFrames(z: Tensor, frames: Tensor): Tensor {
  const [B, c, H, W, C] = z.shape as [number, number, number, number, number];
  const k = frames.shape[1]!;
  return k === c ? frames : tf.concat([frames, tf.slice(z, [0, k, 0, 0, 0], [B, c - k, H, W, C])], 1);
}

function keepLast(cache: StreamState['cache'], count: number): StreamState['cache'] {
  const gone = Math.max(0, cache.length - count);
  for (const { layers } of cache.slice(0, gone)) tf.dispose([...layers.keys, ...layers.values]);
  return cache.slice(gone);
}

/** Frees all tensors of a state. */
export function disposeState({ active, finished, cache }: StreamState): void {
  for (const { z, prompt } of active) tf.dispose(prompt ? [z, prompt.features, prompt.mask] : [z]);
  finished?.z.dispose();
  for (const { layers } of cache) tf.dispose([...layers.keys, ...layers.values]);
}

/** A velocity of chunks as a denoiser: z ← z + (t_{k+1} - t_k)·v, with v of every active chunk. It keeps no cache. */
export function eulerDenoiser(plan: ChunkPlan, velocity: (request: ChunkRequest) => Tensor[]): ChunkDenoiser {
  return (request) => ({
    active: tf.tidy(() => {
      const latents = withPin(request);
      const [clean, active] = request.clean === undefined ? [undefined, latents] : [latents[0], latents.slice(1)];
      const velocities = velocity({ ...request, active, ...(clean && { clean }) });
      return active.map((z, i) => tf.add(z, tf.mul(velocities[i]!, stepOf(plan, request.forward.active[i]!.step))));
    }),
  });
}

/** t_{k+1} - t_k. */
export const stepOf = ({ times }: ChunkPlan, step: number): number => times.t[step + 1]! - times.t[step]!;

/** The latents of a call, the finished chunk first, with the given frames in place. */
export function withPin({ active, clean, pin }: Pick<ChunkRequest, 'active' | 'clean' | 'pin'>): Tensor[] {
  const latents = clean === undefined ? [...active] : [clean, ...active];
  if (pin) latents[pin.at] = pinFrames(latents[pin.at]!, pin.frames);
  return latents;
}
