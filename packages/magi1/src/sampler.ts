import type { Sampler } from '@atelier/diffusion';
import { compile, dims, parseConfig, tf, type Compiled, type Tensor, type Tree } from '@atelier/tensor';
import { chunkPlan, type ChunkPlan } from './chunk-schedule.ts';
import { magiConfig, type MagiSettings } from './config.ts';
import type { MagiParams } from './model.ts';
import { givenCache, networkDenoiser, type Graph } from './network-denoiser.ts';
import { advanceChunks, disposeState, initialState, type FinishedChunk, type StreamState } from './transport.ts';
import { checkVideo, sourcesOf, type VideoOptions } from './video-options.ts';

/** A video that is being made. */
export type VideoStream = {
  readonly plan: ChunkPlan;
  readonly state: StreamState;
  /**
   * Makes one forward. Returns the chunk that it finishes, if there is one. If noise, a prompt or the network throws, the stream is as it was before.
   * @throws Error when the video is complete or the stream was freed
   */
  advance(): FinishedChunk | undefined;
  /** Whether all forwards have been made. */
  readonly complete: boolean;
  /** Frees the state. */
  dispose(): void;
};

/** The compiled graphs of one network, for any number of videos. */
export type MagiGraphs = {
  /**
   * Opens a video at its first forward, or at `state`. The stream owns the state from now on, and also frees it if this throws.
   * @throws Error if an option does not fit
   */
  open(params: MagiParams, noise: (chunk: number) => Tensor, options: VideoOptions, state?: StreamState): VideoStream;
  /** How many graphs have been compiled. */
  readonly graphs: number;
  dispose(): void;
};

/** Compiles a call of the network when its shape comes up first. Later calls of the same shape use the same graph, at every place of every video. */
export function magiGraphs(settings: MagiSettings): MagiGraphs {
  const config = parseConfig(magiConfig, settings, 'magiGraphs');
  const compiled = new Map<string, Compiled<Tree[], Tree>>();
  const graph: Graph = (key, make) => {
    let found = compiled.get(key);
    if (found === undefined) {
      found = compile(make() as (...args: Tree[]) => Tree, { name: key.slice(0, 60), idle: 'sleep' });
      compiled.set(key, found);
    }
    return found;
  };
  return {
    open(params, noise, options, state) {
      let at: StreamState | undefined = state;
      const dispose = (): void => {
        if (at) disposeState(at);
        at = undefined;
      };
      const start = () => {
        const video = checkVideo(options);
        const sources = sourcesOf(noise, options, video, config);
        at ??= initialState(givenCache(params, graph, options.prefix, video, config));
        return { plan: video.plan, sources, denoise: networkDenoiser(params, graph, video, config) };
      };
      let opened: ReturnType<typeof start>;
      try {
        opened = start();
      } catch (error) {
        dispose();
        throw error;
      }
      const { plan, sources, denoise } = opened;
      const living = (): StreamState => {
        if (at === undefined) throw new Error('videoStream: wanted a stream that is open, got one that was freed');
        return at;
      };
      return {
        plan,
        get state() {
          return living();
        },
        get complete() {
          return living().forward >= plan.forwards;
        },
        advance() {
          const next = advanceChunks(plan, living(), sources, denoise);
          at = next.state;
          return next.finished;
        },
        dispose,
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

/** A step of a sampler: forward g of the schedule, and the frames of the chunk that it finished. */
export type MagiStep = { forward: number; finished?: FinishedChunk };

/**
 * MAGI-1 as a sampler: noise [B, n·c, H, W, C] -> the F new frames of the video [B, F, H, W, C] at once. `streamVideo` gives each chunk when it is
 * finished.
 */
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
      try {
        for (const { finished } of steps(params, noise, options)) if (finished) frames.push(finished.frames);
        return tf.concat(frames, 1);
      } finally {
        tf.dispose(frames);
      }
    },
    get graphs() {
      return graphs.graphs;
    },
    dispose: () => graphs.dispose(),
  };
}
