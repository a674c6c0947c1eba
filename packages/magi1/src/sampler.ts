import type { Sampler } from '@atelier/diffusion';
import { checkNumber, compile, dims, parseConfig, tf, type Compiled, type Tensor, type Tree } from '@atelier/tensor';
import type { LayerCache } from './attend.ts';
import { callClean, callNetwork, type CallKind, type CallShape, type Prompt } from './call.ts';
import { chunkPlan, cleanRange, plannedClean, type ChunkPlan, type PlannedChunk, type ScheduleSettings } from './chunk-schedule.ts';
import { magiConfig, type MagiConfig, type MagiSettings } from './config.ts';
import { EDGE, guidanceConfig, guidanceFactors, guidanceScales, guidedVelocity, type Guidance, type GuidanceSettings } from './guidance.ts';
import type { MagiParams } from './model.ts';
import {
  advanceChunks,
  disposeState,
  initialState,
  stepOf,
  withPin,
  type ChunkDenoiser,
  type ChunkRequest,
  type ChunkSources,
  type FinishedChunk,
  type StreamState,
} from './transport.ts';

/** A prompt for the whole video, one for each chunk, or a function that is asked when a chunk enters the window. The caller keeps their tensors. */
export type Prompts = Prompt | readonly Prompt[] | ((chunk: number) => Prompt);

/** How a video is made. */
export type VideoOptions = {
  schedule: ScheduleSettings;
  prompts: Prompts;
  /** `guided` for a base network, `distilled` for a student of shortcut distillation; `guided` if absent. */
  kind?: CallKind;
  /** Scales of a guided network. */
  guidance?: GuidanceSettings;
  /** Given frames [B, prefixFrames, H, W, C]: one for image to video, more to go on with a video. */
  prefix?: Tensor;
  pin?: ChunkSources['pin'];
  fillWindow?: boolean;
  /** Weight of the pass alone of the oldest chunk in a distilled network, from t = 0.3 on (Eq. 10); 0.3 if absent, 0 leaves the pass out. */
  aloneWeight?: number;
};

/** From this time on the oldest chunk of a distilled network is also computed alone, and has this weight so (Eq. 10). */
const NEARLY_CLEAN = { from: 0.3, alone: 0.3 };

/** A video under way. */
export type VideoStream = {
  readonly plan: ChunkPlan;
  readonly state: StreamState;
  /** One forward; the chunk that it finishes, if it does. @throws Error when the video is complete or the stream was freed */
  advance(): FinishedChunk | undefined;
  readonly complete: boolean;
  /** Frees the state. */
  dispose(): void;
};

/** Graphs of one network for any number of videos. */
export type MagiGraphs = {
  open(params: MagiParams, noise: (chunk: number) => Tensor, options: VideoOptions, state?: StreamState): VideoStream;
  readonly graphs: number;
  dispose(): void;
};

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

/** Compiles the calls of a network as they come: a call of the same shape uses the same graph, whichever chunks it is about. */
export function magiGraphs(settings: MagiSettings): MagiGraphs {
  const config = parseConfig(magiConfig, settings, 'magiGraphs');
  const compiled = new Map<string, Compiled<Tree[], Tree>>();
  const graph = (key: string, make: () => (...args: never[]) => Tree): Compiled<Tree[], Tree> => {
    let found = compiled.get(key);
    if (found === undefined) {
      found = compile(make() as (...args: Tree[]) => Tree, { name: key.slice(0, 60), idle: 'sleep' });
      compiled.set(key, found);
    }
    return found;
  };
  return {
    open(params, noise, options, state) {
      const checked = checkOptions(options, config);
      const sources: ChunkSources = {
        noise,
        prompt: promptsOf(options.prompts, checked.plan, config),
        prefix: options.prefix,
        pin: options.pin ?? 'official',
        fillWindow: options.fillWindow ?? false,
      };
      const denoise = networkDenoiser(params, graph, checked, config);
      let at: StreamState | undefined = state ?? initialState(givenCache(params, graph, options.prefix, checked, config));
      const living = (): StreamState => {
        if (at === undefined) throw new Error('videoStream: wanted a stream that is open, got one that was freed');
        return at;
      };
      return {
        plan: checked.plan,
        get state() {
          return living();
        },
        get complete() {
          return living().forward >= checked.plan.forwards;
        },
        advance() {
          const next = advanceChunks(checked.plan, living(), sources, denoise);
          at = next.state;
          return next.finished;
        },
        dispose() {
          if (at) disposeState(at);
          at = undefined;
        },
      };
    },
    get graphs() {
      return [...compiled.values()].reduce((sum, { graphs }) => sum + graphs, 0);
    },
    dispose() {
      for (const each of compiled.values()) each.dispose();
      compiled.clear();
    },
  };
}

type Graph = (key: string, make: () => (...args: never[]) => Tree) => Compiled<Tree[], Tree>;
type Checked = { plan: ChunkPlan; kind: CallKind; guidance: Guidance; aloneWeight: number };

function checkOptions(options: VideoOptions, { channels }: MagiConfig): Checked {
  const plan = chunkPlan(options.schedule);
  const kind = options.kind ?? 'guided';
  if (kind !== 'guided' && kind !== 'distilled')
    throw new Error(`videoStream: kind: wanted 'guided' or 'distilled', got '${String(kind)}'`);
  if (plan.mixed !== undefined && kind === 'guided')
    throw new Error(`videoStream: schedule: wanted a uniform grid for a guided network, got the mixed grid '${plan.mixed}'`);
  if (plan.prefixFrames > 0 !== (options.prefix !== undefined))
    throw new Error(`videoStream: prefix: wanted ${plan.prefixFrames} frames, got ${options.prefix?.shape[1] ?? 'none'}`);
  if (options.prefix) dims(options.prefix, 'B prefixFrames H W C', 'videoStream: prefix', { prefixFrames: plan.prefixFrames, C: channels });
  const { aloneWeight = NEARLY_CLEAN.alone } = options;
  checkNumber('videoStream: aloneWeight', aloneWeight, { min: 0, max: 1 });
  return { plan, kind, guidance: parseConfig(guidanceConfig, options.guidance ?? {}, 'videoStream: guidance'), aloneWeight };
}

/** A function that gives copies of the prompts, so that the stream owns what it holds. */
function promptsOf(prompts: Prompts, plan: ChunkPlan, { captionChannels }: MagiConfig): (chunk: number) => Prompt {
  if (Array.isArray(prompts) && prompts.length < plan.chunks)
    throw new Error(`videoStream: prompts: wanted one for each of ${plan.chunks} chunks, got ${prompts.length}`);
  const of = (chunk: number): Prompt => {
    if (typeof prompts === 'function') return prompts(chunk);
    return Array.isArray(prompts) ? (prompts as Prompt[])[chunk]! : (prompts as Prompt);
  };
  return (chunk) => {
    const { features, mask } = of(chunk);
    const { B, L } = dims<'B' | 'L'>(features, 'B L Y', `videoStream: prompt of chunk ${chunk}`, { Y: captionChannels });
    dims(mask, 'B L', `videoStream: mask of the prompt of chunk ${chunk}`, { B, L });
    return { features: features.clone(), mask: mask.clone() };
  };
}

/** The network as a denoiser: all of its passes, guidance and the Euler step are one graph. */
function networkDenoiser(
  params: MagiParams,
  graph: Graph,
  { plan, kind, guidance, aloneWeight }: Checked,
  config: MagiConfig,
): ChunkDenoiser {
  return (request) => {
    const { forward } = request;
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
      nearlyClean: kind === 'distilled' && aloneWeight > 0 && forward.active[0]!.t > NEARLY_CLEAN.from - EDGE,
    };
    const pinnedAt = request.pin?.at;
    const key = JSON.stringify([shape, request.caches.length, pinnedAt ?? null, aloneWeight]);
    const step = graph(key, () => callStep(shape, { pinnedAt, aloneWeight }, config));
    const inputs = inputsOf(request, plan, kind, guidance);
    const out = step(params as unknown as Tree, inputs as unknown as Tree) as unknown as { active: Tensor[]; cache?: LayerCache };
    tf.dispose([inputs.t, inputs.firstFrame, inputs.dt, ...[inputs.code, inputs.factors].flatMap((x) => x ?? [])]);
    return out;
  };
}

/** The numbers of a call as tensors, beside the latents, texts and caches. */
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

/** The graph of a call: velocities in all passes, the guided velocity, z ← z + dt·v. */
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

/** Keys and values of the given chunks, each computed with those that it sees. Only so many are kept as the cache holds. */
function givenCache(
  params: MagiParams,
  graph: Graph,
  prefix: Tensor | undefined,
  { plan, kind }: Checked,
  config: MagiConfig,
): StreamState['cache'] {
  const cache: StreamState['cache'] = [];
  for (let chunk = 0; chunk < plan.cleanChunks; chunk++) {
    const seen = Math.min(chunk, cleanRange(plan) - 1, cache.length);
    const caches = cache.slice(cache.length - seen).map(({ layers }) => layers);
    const call = graph(JSON.stringify(['clean', kind, seen]), () => (weights: MagiParams, inputs: never): Tree => {
      return callClean(weights, inputs, { kind, seen }, config).cache as unknown as Tree;
    });
    const [B, , H, W, C] = prefix!.shape as [number, number, number, number, number];
    const inputs = tf.tidy(() => ({
      clean: tf.slice(prefix!, [0, chunk * plan.chunkFrames, 0, 0, 0], [B, plan.chunkFrames, H, W, C]),
      t: tf.scalar(plannedClean(plan, chunk).t),
      firstFrame: tf.scalar(chunk * plan.chunkFrames),
      ...(kind === 'distilled' && { code: tf.scalar(plan.times.code[0]!) }),
    }));
    const layers = call(params as unknown as Tree, { ...inputs, caches } as unknown as Tree) as unknown as LayerCache;
    tf.dispose(inputs);
    cache.push({ chunk, layers });
    const gone = cache.length > Math.max(plan.cacheChunks, 0) ? cache.splice(0, cache.length - plan.cacheChunks) : [];
    for (const old of gone) tf.dispose([...old.layers.keys, ...old.layers.values]);
  }
  return cache;
}

/** A step of a sampler: forward g of the schedule, and the frames of the chunk that it finished. */
export type MagiStep = { forward: number; finished?: FinishedChunk };

/** MAGI-1 as a sampler: noise [B, n·c, H, W, C] -> the new frames of the video [B, F, H, W, C]. `streamVideo` gives them as they come. */
export function magiSampler(settings: MagiSettings): Sampler<MagiParams, VideoOptions, MagiStep> {
  const graphs = magiGraphs(settings);
  const { channels } = parseConfig(magiConfig, settings, 'magiSampler');
  function* steps(params: MagiParams, noise: Tensor, options: VideoOptions): Generator<MagiStep, void, void> {
    const plan = chunkPlan(options.schedule);
    const { B, H, W } = dims<'B' | 'H' | 'W'>(noise, 'B F H W C', 'magiSampler: noise', { F: plan.chunks * plan.chunkFrames, C: channels });
    const c = plan.chunkFrames;
    const stream = graphs.open(params, (chunk) => tf.slice(noise, [0, chunk * c, 0, 0, 0], [B, c, H, W, channels]), options);
    try {
      while (!stream.complete) {
        const forward = stream.state.forward;
        const finished = stream.advance();
        yield { forward, ...(finished && { finished }) };
      }
    } finally {
      stream.dispose();
    }
  }
  return {
    steps,
    sample(params, noise, options) {
      const frames: Tensor[] = [];
      for (const { finished } of steps(params, noise, options)) if (finished) frames.push(finished.frames);
      const video = tf.concat(frames, 1);
      tf.dispose(frames);
      return video;
    },
    get graphs() {
      return graphs.graphs;
    },
    dispose: () => graphs.dispose(),
  };
}
