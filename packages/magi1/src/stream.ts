import type { Tensor } from '@atelier/tensor';
import type { MagiSettings } from './config.ts';
import type { MagiParams } from './model.ts';
import { magiGraphs, type MagiGraphs, type VideoStream } from './sampler.ts';
import { decodeSession, encodeSession, type Session } from './session.ts';
import type { FinishedChunk } from './transport.ts';
import type { VideoOptions } from './video-options.ts';

/** A finished chunk of a stream. */
export type StreamedChunk = {
  /** Its index in the video. */
  chunk: number;
  /** Its new frames [B, frames, H, W, C]. The caller disposes them. */
  frames: Tensor;
  /** How many forwards were made so far. */
  forwards: number;
  /** Saves a session that goes on right after this chunk. Call it before the next chunk is asked for. */
  save(): Promise<Uint8Array>;
};

export type StreamOptions = VideoOptions & {
  /** Noise of a chunk [B, c, H, W, C], for example from a stream of random numbers of its own: `rng.child(chunk).normal(shape)`. The stream disposes it. */
  noise: (chunk: number) => Tensor;
  /** Ends the stream when it is aborted: the chunk being made, or the next one asked for, is rejected with the signal's reason, and everything is freed. */
  signal?: AbortSignal;
  /** Called after every forward. */
  onForward?: (stream: Pick<VideoStream, 'plan' | 'state'>) => void;
  /** Bytes of a saved session to go on from. Noise, prompts, schedule and weights must be those of the first part. */
  session?: Uint8Array;
  /** Graphs to use, which the caller frees; otherwise the stream compiles its own. */
  graphs?: MagiGraphs;
};

/**
 * The chunks of a video as they are finished. Nothing is computed before the next chunk is asked for, so a slow reader slows the stream down; between two
 * forwards other work of the program can run. Leaving the loop, an abort or an error free all tensors and graphs.
 *
 * @throws Error if options do not fit, or a session is damaged or of another model or video
 */
export async function* streamVideo(
  params: MagiParams,
  settings: MagiSettings,
  { noise, signal, onForward, session, graphs, ...options }: StreamOptions,
): AsyncGenerator<StreamedChunk, void, void> {
  signal?.throwIfAborted();
  const identity: Session = { params, settings, options };
  const state = session && (await decodeSession(session, identity));
  let own: MagiGraphs | undefined;
  let stream: VideoStream | undefined;
  let finished: FinishedChunk | undefined;
  try {
    own = graphs ?? magiGraphs(settings);
    stream = own.open(params, noise, options, state);
    while (!stream.complete) {
      await turn();
      signal?.throwIfAborted();
      finished = stream.advance();
      onForward?.(stream);
      if (finished === undefined) continue;
      const [open, given] = [stream, finished];
      finished = undefined; // From here on its frames are the reader's.
      yield { ...given, forwards: open.state.forward, save: () => encodeSession(open.state, identity) };
    }
  } finally {
    finished?.frames.dispose();
    stream?.dispose();
    if (graphs === undefined) own?.dispose();
  }
}

/** Lets timers, input and output of the program have their turn. */
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));
