import { tf, type Compiled, type Tensor, type Tree } from '@atelier/tensor';
import type { LayerCache } from './attend.ts';
import { callClean, callNetwork, type CallKind, type CallShape, type Prompt } from './call.ts';
import { cleanRange, plannedClean, type ChunkPlan, type PlannedChunk } from './chunk-schedule.ts';
import type { MagiConfig } from './config.ts';
import { EDGE, guidanceFactors, guidanceScales, guidedVelocity, type Guidance } from './guidance.ts';
import type { MagiParams } from './model.ts';
import { disposeState, keepLast, stepOf, withPin, type ChunkDenoiser, type ChunkRequest, type StreamState } from './transport.ts';
import type { CheckedVideo } from './video-options.ts';

/** Gives the compiled function of a key; `make` makes it at the first use. */
export type Graph = (key: string, make: () => (...args: never[]) => Tree) => Compiled<Tree[], Tree>;

/** From this time on, a distilled network also computes the oldest chunk without earlier chunks (Eq. 10, arXiv 2505.13211). */
const NEARLY_CLEAN = 0.3;

type Inputs = {
  active: Tensor[];
  clean?: Tensor;
  pin?: Tensor;
  prompts: Prompt[];
  t: Tensor;
  firstFrame: Tensor;
  code?: Tensor;
  caches: LayerCache[];
  dt: Tensor;
  factors?: Tensor;
};

/** The network as a denoiser: all of its passes, guidance and the Euler step are one compiled graph. */
export function networkDenoiser(
  params: MagiParams,
  graph: Graph,
  { plan, kind, guidance, aloneWeight }: CheckedVideo,
  config: MagiConfig,
): ChunkDenoiser {
  return (request) => {
    const { forward } = request;
    // Only relative indices decide a graph, and whether a chunk is finished (step -1), so that calls at other places of the video use the same one.
    const base = forward.cachedFrom;
    const relative = ({ chunk, from, step }: PlannedChunk): PlannedChunk => ({
      chunk: chunk - base,
      from: from - base,
      step: Math.min(step, 0),
      t: 0,
    });
    const shape: CallShape = {
      kind,
      ...(forward.clean && { clean: relative(forward.clean) }),
      active: forward.active.map(relative),
      cachedFrom: 0,
      nearlyClean: kind === 'distilled' && aloneWeight > 0 && forward.active[0]!.t > NEARLY_CLEAN - EDGE,
    };
    const pinnedAt = request.pin?.at;
    const key = JSON.stringify([shape, request.caches.length, pinnedAt ?? null, aloneWeight]);
    const step = graph(key, () => callStep(shape, { pinnedAt, aloneWeight }, config));
    const inputs = inputsOf(request, plan, kind, guidance);
    try {
      return step(params as unknown as Tree, inputs as unknown as Tree) as unknown as ReturnType<ChunkDenoiser>;
    } finally {
      tf.dispose([inputs.t, inputs.firstFrame, inputs.dt, ...[inputs.code, inputs.factors].flatMap((x) => x ?? [])]);
    }
  };
}

/** All tensors of a call: latents, texts and caches as they are, and the numbers of the plan as new tensors. */
function inputsOf(request: ChunkRequest, plan: ChunkPlan, kind: CallKind, guidance: Guidance): Inputs {
  const { forward, active, clean, pin, prompts, caches } = request;
  const called = [...(forward.clean ? [forward.clean] : []), ...forward.active];
  const columns = forward.active.map(({ t }) => guidanceFactors(guidanceScales(t, guidance)));
  return {
    active,
    ...(clean && { clean }),
    ...(pin && { pin: pin.frames }),
    prompts,
    caches,
    t: tf.tensor1d(called.map(({ t }) => t)),
    firstFrame: tf.scalar(called[0]!.chunk * plan.chunkFrames),
    dt: tf.tensor1d(forward.active.map(({ step }) => stepOf(plan, step))),
    ...(kind === 'distilled'
      ? { code: tf.scalar(forward.code) }
      : { factors: tf.tensor2d([0, 1, 2].map((row) => columns.map((column) => column[row]!))) }),
  };
}

/** The function of a call, to be compiled: velocities in all passes, the guided velocity (Eq. 9 or 10), z ← z + dt·v. */
function callStep(shape: CallShape, { pinnedAt, aloneWeight }: { pinnedAt: number | undefined; aloneWeight: number }, config: MagiConfig) {
  return (params: MagiParams, inputs: Inputs): Tree => {
    const latents = withPin({ ...inputs, ...(inputs.pin && { pin: { at: pinnedAt!, frames: inputs.pin } }) } as never);
    const [clean, active] = inputs.clean === undefined ? [undefined, latents] : [latents[0], latents.slice(1)];
    const out = callNetwork(params, { ...inputs, active, ...(clean && { clean }) }, shape, config);
    const m = active.length;
    let v = out.full;
    if (shape.kind === 'guided') v = guidedVelocity({ full: out.full, previous: out.previous!, alone: out.alone! }, inputs.factors!);
    else if (out.alone) {
      const [oldest, ...younger] = tf.unstack(v, 1);
      const mixed = tf.add(tf.mul(oldest!, 1 - aloneWeight), tf.mul(tf.unstack(out.alone, 1)[0]!, aloneWeight));
      v = tf.stack([mixed, ...younger], 1);
    }
    const dt = tf.reshape(inputs.dt, [1, m, 1, 1, 1, 1]);
    const next = tf.unstack(tf.add(tf.stack(active, 1), tf.mul(dt, v)), 1);
    return { active: next, ...(out.cache && { cache: out.cache }) } as unknown as Tree;
  };
}

/**
 * Keys and values of the given chunks. Only the last `plan.cacheChunks` are kept, so only those chunks are computed on which these depend. A chunk
 * depends on the chunks that it sees, these on the chunks that they see, and so on, once for each layer but the last.
 */
export function givenCache(
  params: MagiParams,
  graph: Graph,
  prefix: Tensor | undefined,
  { plan, kind }: CheckedVideo,
  config: MagiConfig,
): StreamState['cache'] {
  const behind = cleanRange(plan) - 1;
  const first = Math.max(0, plan.cleanChunks - plan.cacheChunks - (config.layers - 1) * behind);
  let cache: StreamState['cache'] = [];
  try {
    for (let chunk = plan.cacheChunks === 0 ? plan.cleanChunks : first; chunk < plan.cleanChunks; chunk++) {
      const caches = cache.slice(Math.max(0, cache.length - behind)).map(({ layers }) => layers);
      const layers = givenChunk(params, graph, prefix!, chunk, caches, { plan, kind }, config);
      cache = keepLast([...cache, { chunk, layers }], plan.cacheChunks);
    }
  } catch (error) {
    disposeState({ active: [], cache });
    throw error;
  }
  return cache;
}

/** Keys and values of one given chunk. */
function givenChunk(
  params: MagiParams,
  graph: Graph,
  prefix: Tensor,
  chunk: number,
  caches: LayerCache[],
  { plan, kind }: Pick<CheckedVideo, 'plan' | 'kind'>,
  config: MagiConfig,
): LayerCache {
  const seen = caches.length;
  const call = graph(JSON.stringify(['clean', kind, seen]), () => (weights: MagiParams, inputs: never): Tree => {
    return callClean(weights, inputs, { kind, seen }, config).cache as unknown as Tree;
  });
  const [B, , H, W, C] = prefix.shape as [number, number, number, number, number];
  const inputs = tf.tidy(() => ({
    clean: tf.slice(prefix, [0, chunk * plan.chunkFrames, 0, 0, 0], [B, plan.chunkFrames, H, W, C]),
    t: tf.scalar(plannedClean(plan, chunk).t),
    firstFrame: tf.scalar(chunk * plan.chunkFrames),
    ...(kind === 'distilled' && { code: tf.scalar(plan.times.code[0]!) }),
  }));
  try {
    return call(params as unknown as Tree, { ...inputs, caches } as unknown as Tree) as unknown as LayerCache;
  } finally {
    tf.dispose(inputs);
  }
}
