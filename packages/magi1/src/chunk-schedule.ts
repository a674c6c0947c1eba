import { checkNumber, parseConfig } from '@atelier/tensor';
import { z } from 'zod';
import { CLEAN_TIME, denoisingTimes, MIXED_GRIDS, type DenoisingTimes, type MixedGrid } from './time-schedule.ts';

const size = z.int().min(1);

/** How a video of chunks is denoised: several chunks at a time, each at its own noise. */
export const scheduleConfig = z
  .strictObject({
    /** n, chunks of the video, including given ones. */
    chunks: size,
    /** c, latent frames of a chunk. */
    chunkFrames: size,
    /** W, how many chunks are denoised at a time. */
    window: size.default(4),
    /** S, denoising steps of a chunk. */
    steps: size.default(64),
    /**
     * R: the S steps are divided into equal parts, one for each entry. In part i a chunk sees R[i] chunks, including itself. If empty, it sees all
     * before it.
     */
    history: z.array(size).default([5, 4, 3, 2]),
    /** r_c, how many chunks a finished chunk sees, including itself; -1 takes the last entry of R, or 8 if R is empty. */
    cleanHistory: z.union([size, z.literal(-1)]).default(1),
    /** Latent frames that are given at the start. */
    prefixFrames: z.int().min(0).default(0),
    /** The time of a finished chunk, which the network is told. */
    cleanTime: z.number().min(0).max(1).default(CLEAN_TIME),
    /** How the fraction u of the steps becomes a time t (`TimeWarp`). */
    warp: z
      .discriminatedUnion('kind', [
        z.strictObject({ kind: z.literal('shifted-square'), shift: z.number().positive().default(3) }),
        z.strictObject({ kind: z.literal('square') }),
        z.strictObject({ kind: z.literal('piecewise') }),
        z.strictObject({ kind: z.literal('identity') }),
      ])
      .prefault({ kind: 'shifted-square' }),
    /** A mixed grid of 12 steps, for a distilled network. */
    mixed: z.enum(Object.keys(MIXED_GRIDS) as [MixedGrid, ...MixedGrid[]]).optional(),
  })
  .superRefine((c, context) => {
    const fault = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    if (c.steps % c.window !== 0) fault('steps', `wanted a multiple of the window ${c.window}, got ${c.steps}`);
    if (c.history.length > 0 && c.steps % c.history.length !== 0)
      fault('history', `wanted a number of entries that divides the ${c.steps} steps, got ${c.history.length}`);
    if (c.mixed !== undefined && c.steps !== 12) fault('steps', `wanted 12 for a mixed grid, got ${c.steps}`);
    if (c.prefixFrames >= c.chunks * c.chunkFrames)
      fault('prefixFrames', `wanted fewer than the ${c.chunks * c.chunkFrames} frames of the video, got ${c.prefixFrames}`);
  });
export type Schedule = z.output<typeof scheduleConfig>;
export type ScheduleSettings = z.input<typeof scheduleConfig>;

/** A chunk in a call of the network. */
export type PlannedChunk = {
  /** Its index in the video, from 0. */
  chunk: number;
  /** Its denoising step k, 0 … S - 1, or -1 for a finished chunk. */
  step: number;
  /** Its time t_k before the step, 0 noise … 1 data. */
  t: number;
  /** The first chunk that it sees. It sees all from there up to itself. */
  from: number;
};

/** One forward of the schedule: one call of the network, which moves all active chunks one step on. */
export type PlannedForward = {
  /** g, from 0. */
  index: number;
  /** ⌊g/q⌋, q = S/W. In each stage one new chunk enters the window. */
  stage: number;
  /** g mod q. */
  position: number;
  /** The chunk that was just finished, whose keys and values this forward makes for the cache. */
  clean?: PlannedChunk;
  /** The chunks that are denoised, oldest and cleanest first. */
  active: PlannedChunk[];
  /** The first cached chunk that is read. The cached chunks from here to the one before the first chunk of the call are read. */
  cachedFrom: number;
  /** Step code that a distilled network reads (`stepCode`). */
  code: number;
  /** The size of the step of the oldest chunk (`DenoisingTimes`). */
  interval: number;
  /** The chunk that has taken its last step with this forward, if there is one. */
  finishes?: number;
};

/** Checked settings together with what follows from them. */
export type ChunkPlan = Schedule & {
  /** o, whole chunks of the given beginning. */
  cleanChunks: number;
  /** q = S/W, forwards between two finished chunks. */
  perStage: number;
  /** Number of forwards, q·(n - o + W - 1). */
  forwards: number;
  times: DenoisingTimes;
  /** The largest number of chunks whose keys and values are needed at a time: the longest history, less the chunk itself. */
  cacheChunks: number;
};

/** Checks the settings. @throws Error that names every setting that does not fit */
export function chunkPlan(settings: ScheduleSettings): ChunkPlan {
  const c = parseConfig(scheduleConfig, settings, 'chunkPlan');
  const cleanChunks = Math.floor(c.prefixFrames / c.chunkFrames);
  const perStage = c.steps / c.window;
  const longest = c.history.length === 0 ? c.chunks : Math.max(...c.history, cleanRange(c));
  return {
    ...c,
    cleanChunks,
    perStage,
    forwards: perStage * (c.chunks - cleanChunks + c.window - 1),
    times: denoisingTimes(c.steps, { warp: c.warp, ...(c.mixed && { mixed: c.mixed }) }),
    cacheChunks: Math.min(c.chunks, longest) - 1,
  };
}

/** How many chunks a finished chunk sees, itself among them. */
export function cleanRange({ cleanHistory, history }: Pick<Schedule, 'cleanHistory' | 'history'>): number {
  return cleanHistory === -1 ? (history.at(-1) ?? 8) : cleanHistory;
}

/** A finished chunk in a call: its clean time, and the chunks that it sees. */
export function plannedClean(plan: ChunkPlan, chunk: number): PlannedChunk {
  return { chunk, step: -1, t: plan.cleanTime, from: Math.max(0, chunk + 1 - cleanRange(plan)) };
}

/** The active chunks clipStart … clipEnd - 1 of a stage, for n chunks of which the first o are given, and the window W. */
export function stageOf(
  stage: number,
  { chunks, window, cleanChunks }: Pick<ChunkPlan, 'chunks' | 'window' | 'cleanChunks'>,
): { clipStart: number; clipEnd: number } {
  return { clipStart: cleanChunks + Math.max(0, stage - window + 1), clipEnd: Math.min(chunks, cleanChunks + stage + 1) };
}

/** Forward g of the schedule (section 3.1 of arXiv 2505.13211 and its pipeline). @throws Error unless 0 <= g < plan.forwards */
export function plannedForward(plan: ChunkPlan, g: number): PlannedForward {
  checkNumber('plannedForward: g', g, { integer: true, min: 0, below: plan.forwards });
  const { perStage, cleanChunks, steps, history, times } = plan;
  const [stage, position] = [Math.floor(g / perStage), g % perStage];
  const { clipStart, clipEnd } = stageOf(stage, plan);
  const active = Array.from({ length: clipEnd - clipStart }, (_, i): PlannedChunk => {
    const chunk = clipStart + i;
    const step = (stage - (chunk - cleanChunks)) * perStage + position;
    const range = history.length === 0 ? chunk + 1 : history[Math.floor(step / (steps / history.length))]!;
    return { chunk, step, t: times.t[step]!, from: Math.max(0, chunk + 1 - range) };
  });
  const clean = clipStart > cleanChunks && position === 0 ? plannedClean(plan, clipStart - 1) : undefined;
  const first = clean?.chunk ?? clipStart;
  const cachedFrom = Math.min(first, ...active.map(({ from }) => from), clean?.from ?? first);
  const oldest = active[0]!;
  return {
    index: g,
    stage,
    position,
    ...(clean && { clean }),
    active,
    cachedFrom,
    code: times.code[oldest.step]!,
    interval: times.interval[oldest.step]!,
    ...(oldest.step === steps - 1 && { finishes: oldest.chunk }),
  };
}

/** All forwards, in order: which chunks are denoised, at which times, and which chunks each one sees. Nothing is computed. */
export function* plannedForwards(plan: ChunkPlan): Generator<PlannedForward> {
  for (let g = 0; g < plan.forwards; g++) yield plannedForward(plan, g);
}

/**
 * How many frames a finished chunk adds to the video: all except given ones. But if only one frame is given (image to video), it is the first frame
 * of the video, so it counts.
 */
export function emittedFrames({ prefixFrames, chunkFrames }: Pick<Schedule, 'prefixFrames' | 'chunkFrames'>, chunk: number): number {
  return chunkFrames - (prefixFrames === 1 ? 0 : pinnedFrames({ prefixFrames, chunkFrames }, chunk));
}

/** How many leading frames of a chunk are given. */
export function pinnedFrames({ prefixFrames, chunkFrames }: Pick<Schedule, 'prefixFrames' | 'chunkFrames'>, chunk: number): number {
  return Math.min(chunkFrames, Math.max(0, prefixFrames - chunk * chunkFrames));
}

/** The number of chunks of a video with this many frames, rounded up. */
export const chunksOf = (frames: number, chunkFrames: number): number => Math.ceil(frames / chunkFrames);
