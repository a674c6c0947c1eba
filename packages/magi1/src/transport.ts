import { tf, type Tensor } from '@atelier/tensor';
import type { LayerCache } from './attend.ts';
import type { Prompt } from './call.ts';
import { emittedFrames, pinnedFrames, plannedForward, type ChunkPlan, type PlannedForward } from './chunk-schedule.ts';

// The state of a video between two forwards, and how one forward changes it. It knows the plan, but not the network: that is a function, the denoiser.
// (The official code calls this part "transport".)

/** A chunk that is being denoised. The state owns its tensors. */
export type ActiveChunk = { chunk: number; z: Tensor; prompt?: Prompt };

/** The state of a video between two forwards. It owns all of its tensors. Their number is limited by the window and the cache. */
export type StreamState = {
  /** g, the next forward. */
  forward: number;
  active: ActiveChunk[];
  /** A finished chunk whose keys and values are not cached yet. */
  finished?: { chunk: number; z: Tensor };
  /** Keys and values of finished chunks, oldest first. */
  cache: { chunk: number; layers: LayerCache }[];
};

/** The inputs of a denoiser for one forward. Latents are [B, c, H, W, C]. */
export type ChunkRequest = {
  forward: PlannedForward;
  active: Tensor[];
  clean?: Tensor;
  /** Given frames [B, k, H, W, C], which replace the first k frames of chunk number `at` of the call, counted from 0 with the finished chunk first. */
  pin?: { at: number; frames: Tensor };
  prompts: Prompt[];
  caches: LayerCache[];
};

/** Moves the active chunks one step on. The caller owns the results. */
export type ChunkDenoiser = (request: ChunkRequest) => { active: Tensor[]; cache?: LayerCache };

/** What the chunks of a video are made from. The caller of the functions owns the tensors that they return. */
export type ChunkSources = {
  /** Noise of a chunk, [B, c, H, W, C]. */
  noise: (chunk: number) => Tensor;
  prompt?: ((chunk: number) => Prompt) | undefined;
  /** Given frames at the start of the video, [B, prefixFrames, H, W, C]. */
  prefix?: Tensor | undefined;
  /**
   * How given frames inside a chunk that is denoised come out. Both ways put them in before every call. But the last step of the chunk changes them,
   * so with `official` the first frame of a video from an image is not exactly that image, as in the official code. `exact` puts them in once more at
   * the end.
   */
  pin: 'official' | 'exact';
  /** Whether extra chunks after the end of the video fill the last windows, so that these use the graphs of the full window. */
  fillWindow: boolean;
};

/** A finished chunk and its new frames [B, frames, H, W, C]. The caller disposes them. */
export type FinishedChunk = { chunk: number; frames: Tensor };

/** The state before the first forward. @param cache keys and values of the given chunks */
export const initialState = (cache: StreamState['cache'] = []): StreamState => ({ forward: 0, active: [], cache });

/**
 * Performs one forward. The given state is consumed: it must not be used again. If this throws, the state is as it was, and nothing new is left behind.
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
  // With `fillWindow`, the plan has W - 1 more chunks after the end. No chunk of the video sees them.
  const wide = sources.fillWindow ? { ...plan, chunks: plan.chunks + plan.window - 1 } : plan;
  const forward = plannedForward({ ...wide, forwards: plan.forwards }, state.forward);
  // Everything that can throw comes first; the tensors of the old state are freed after it.
  const fresh: Tensor[] = [];
  try {
    const active = forward.active.map(
      ({ chunk }) => state.active.find((at) => at.chunk === chunk) ?? enter(chunk, state, plan, sources, fresh),
    );
    const moved = moveChunks(forward, active, state, plan, sources, denoise);
    fresh.push(...moved.active, ...(moved.cache ? layerTensors(moved.cache) : []));
    const next = active.map((chunk, i) => ({ ...chunk, z: moved.active[i]! }));
    const finished = forward.finishes === undefined ? undefined : finishedChunk(plan, next[0]!, sources);
    for (const { z } of active) z.dispose();
    if (forward.clean) state.finished!.z.dispose();
    const cached = moved.cache && forward.clean ? [{ chunk: forward.clean.chunk, layers: moved.cache }] : [];
    const advanced: StreamState = {
      forward: state.forward + 1,
      active: next,
      ...(state.finished && !forward.clean && { finished: state.finished }),
      cache: keepLast([...state.cache, ...cached], plan.cacheChunks),
    };
    return finished === undefined ? { state: advanced } : { state: withoutOldest(plan, advanced), finished };
  } catch (error) {
    tf.dispose(fresh);
    throw error;
  }
}

/** Makes a chunk that enters the window. Its tensors are also added to `fresh`. A chunk after the end takes the prompt of the one before it. */
function enter(chunk: number, state: StreamState, plan: ChunkPlan, { noise, prompt }: ChunkSources, fresh: Tensor[]): ActiveChunk {
  const last = state.active.at(-1);
  const beyond = chunk >= plan.chunks;
  const z = beyond ? tf.zeros(last!.z.shape) : noise(chunk);
  fresh.push(z);
  const copy = ({ features, mask }: Prompt): Prompt => ({ features: features.clone(), mask: mask.clone() });
  const own = beyond ? last!.prompt && copy(last!.prompt) : prompt?.(chunk);
  if (own === undefined) return { chunk, z };
  fresh.push(own.features, own.mask);
  return { chunk, z, prompt: own };
}

/** Calls the denoiser with everything that the forward needs. */
function moveChunks(
  forward: PlannedForward,
  active: readonly ActiveChunk[],
  state: StreamState,
  plan: ChunkPlan,
  { prefix }: ChunkSources,
  denoise: ChunkDenoiser,
): ReturnType<ChunkDenoiser> {
  const first = forward.clean?.chunk ?? forward.active[0]!.chunk;
  const pinned = pinOf(plan, first, first + active.length + (forward.clean ? 0 : -1), prefix);
  try {
    return denoise({
      forward,
      active: active.map(({ z }) => z),
      ...(forward.clean && { clean: state.finished!.z }),
      ...(pinned && { pin: pinned }),
      prompts: active.flatMap(({ prompt }) => prompt ?? []),
      caches: state.cache.filter(({ chunk }) => chunk >= forward.cachedFrom && chunk < first).map(({ layers }) => layers),
    });
  } finally {
    pinned?.frames.dispose();
  }
}

/** The given frames in the chunks first … last of a call. Only one chunk can be partly given: the first after the whole given ones. */
function pinOf(plan: ChunkPlan, first: number, last: number, prefix: Tensor | undefined): ChunkRequest['pin'] {
  const chunk = plan.cleanChunks;
  const count = pinnedFrames(plan, chunk);
  if (prefix === undefined || count === 0 || chunk < first || chunk > last) return undefined;
  const [B, , H, W, C] = prefix.shape as [number, number, number, number, number];
  return { at: chunk - first, frames: tf.slice(prefix, [0, chunk * plan.chunkFrames, 0, 0, 0], [B, count, H, W, C]) };
}

/** The new frames of a chunk that has taken its last step. */
function finishedChunk(plan: ChunkPlan, { chunk, z }: ActiveChunk, { pin, prefix }: ChunkSources): FinishedChunk {
  const frames = tf.tidy(() => {
    const given = pin === 'exact' ? pinOf(plan, chunk, chunk, prefix) : undefined;
    const whole = given ? pinFrames(z, given.frames) : z;
    const [B, , H, W, C] = whole.shape as [number, number, number, number, number];
    const kept = emittedFrames(plan, chunk);
    return tf.clone(kept === plan.chunkFrames ? whole : tf.slice(whole, [0, plan.chunkFrames - kept, 0, 0, 0], [B, kept, H, W, C]));
  });
  return { chunk, frames };
}

/**
 * The finished, oldest chunk leaves the window. The next forward makes its keys and values for the cache. After the last chunk of the video nothing
 * is kept.
 */
function withoutOldest(plan: ChunkPlan, state: StreamState): StreamState {
  const [{ chunk, z, prompt }, ...younger] = state.active as [ActiveChunk, ...ActiveChunk[]];
  if (prompt) tf.dispose([prompt.features, prompt.mask]);
  if (chunk + 1 < plan.chunks) return { ...state, active: younger, finished: { chunk, z } };
  z.dispose();
  disposeState({ ...state, active: younger });
  return { forward: state.forward, active: [], cache: [] };
}

/** Replaces the first k frames of a chunk: z [B, c, H, W, C], frames [B, k, H, W, C] -> [B, c, H, W, C]. */
export function pinFrames(z: Tensor, frames: Tensor): Tensor {
  const [B, c, H, W, C] = z.shape as [number, number, number, number, number];
  const k = frames.shape[1]!;
  return k === c ? frames : tf.concat([frames, tf.slice(z, [0, k, 0, 0, 0], [B, c - k, H, W, C])], 1);
}

/** Keeps the last `count` entries of a cache and frees the others. */
export function keepLast(cache: StreamState['cache'], count: number): StreamState['cache'] {
  const gone = Math.max(0, cache.length - count);
  for (const { layers } of cache.slice(0, gone)) tf.dispose(layerTensors(layers));
  return cache.slice(gone);
}

const layerTensors = ({ keys, values }: LayerCache): Tensor[] => [...keys, ...values];

/** Frees all tensors of a state. */
export function disposeState({ active, finished, cache }: Pick<StreamState, 'active' | 'finished' | 'cache'>): void {
  for (const { z, prompt } of active) tf.dispose(prompt ? [z, prompt.features, prompt.mask] : [z]);
  finished?.z.dispose();
  keepLast(cache, 0);
}

/** The length of step k in time, t_{k+1} - t_k. */
export const stepOf = ({ times }: ChunkPlan, step: number): number => times.t[step + 1]! - times.t[step]!;

/** The latents of a call, the finished chunk first, with the given frames in place. */
export function withPin({ active, clean, pin }: Pick<ChunkRequest, 'active' | 'clean' | 'pin'>): Tensor[] {
  const latents = clean === undefined ? [...active] : [clean, ...active];
  if (pin) latents[pin.at] = pinFrames(latents[pin.at]!, pin.frames);
  return latents;
}
