import type { AttentionSlice } from '@atelier/nn';
import { tf, type Tensor } from '@atelier/tensor';
import { attendSlices, type LayerCache } from './attend.ts';
import type { MagiConfig } from './config.ts';
import type { PlannedChunk } from './chunk-schedule.ts';
import { magiForward, type MagiOutputs, type MagiParams } from './model.ts';
import { nullText, type TextGroup } from './text.ts';

/** Features [B, L, Y] of a prompt, and a mask [B, L] bool: true for real tokens, false for padding. All prompts of a video have the same L. */
export type Prompt = { features: Tensor; mask: Tensor };

/**
 * Which passes a call makes for its active chunks. `guided`: with text, without text, and without text with every chunk alone (v_full, v_prev and v_0
 * of Eq. 9). `distilled`: with text; if `nearlyClean`, also the oldest chunk with its text, alone (v_text of Eq. 10).
 */
export type CallKind = 'guided' | 'distilled';

/** What decides the graph of a call. A chunk index may be relative to any chunk, as long as it is the same for all. */
export type CallShape = {
  kind: CallKind;
  /** The chunk that was just finished. It passes through the network once more, as a clean chunk with the null caption, for its cached keys and values. */
  clean?: PlannedChunk | undefined;
  /** The chunks that are denoised, oldest first. */
  active: readonly PlannedChunk[];
  /** The first cached chunk that is read. The caches of a call are those of the chunks from here to the one before the first chunk of the call. */
  cachedFrom: number;
  /** Whether the oldest chunk gets its second pass (distilled only). */
  nearlyClean: boolean;
};

/** Tensors of a call. */
export type CallInputs = {
  /** Latents of the active chunks, each [B, c, H, W, C]. */
  active: Tensor[];
  /** Latents of the finished chunk. */
  clean?: Tensor;
  /** Prompts of the active chunks. */
  prompts: Prompt[];
  /** Times of the finished chunk (if there is one) and of the active chunks, [chunks]. */
  t: Tensor;
  /** Index of the first frame of the call in the video, scalar. */
  firstFrame: Tensor;
  /** Step code of a distilled network (`stepCode`), scalar. */
  code?: Tensor;
  /** Cached chunks, oldest first. */
  caches: LayerCache[];
};

/** A chunk in one pass of a call. */
type Entry = {
  pass: 'full' | 'previous' | 'alone';
  /** Its index among the chunks of the call; the finished chunk comes first. */
  at: number;
  chunk: PlannedChunk;
  /** Whether it attends to its own prompt, otherwise to the null caption. */
  own: boolean;
  /** Whether its condition says "with text" (`textOn`). */
  on: boolean;
};

/**
 * The chunks of all passes: first those with their own prompt, then those with the null caption. The finished chunk always has the null caption; in the pass
 * `full` its condition still says "with text", as in the official code.
 */
function entriesOf({ kind, clean, active, nearlyClean }: CallShape): Entry[] {
  const before = clean === undefined ? 0 : 1;
  const ofActive = (pass: Entry['pass'], own: boolean, on: boolean): Entry[] =>
    active.map((chunk, i) => ({ pass, at: before + i, chunk, own, on }));
  const ofClean = (pass: Entry['pass'], on: boolean): Entry[] =>
    clean === undefined ? [] : [{ pass, at: 0, chunk: clean, own: false, on }];
  if (kind === 'distilled')
    return [...ofActive('full', true, true), ...(nearlyClean ? ofActive('alone', true, true).slice(0, 1) : []), ...ofClean('full', true)];
  return [
    ...ofActive('full', true, true),
    ...ofClean('full', true),
    ...ofClean('previous', false),
    ...ofActive('previous', false, false),
    ...ofActive('alone', false, false),
  ];
}

/**
 * The slices of a call: which entry sees which keys. Keys are the tokens of `cached` chunks, then the P tokens of every entry. An entry sees only its
 * own pass and the cache.
 */
function slicesOf(entries: readonly Entry[], { cachedFrom }: CallShape, cached: number, P: number): AttentionSlice[] {
  const keysAt = cached * P;
  return entries.flatMap((entry, e): AttentionSlice[] => {
    const queries = [e * P, (e + 1) * P] as const;
    const own: AttentionSlice = { queries, keys: [keysAt + e * P, keysAt + (e + 1) * P], kind: 'full' };
    if (entry.pass === 'alone') return [own];
    const { from, chunk } = entry.chunk;
    const others = entries.flatMap((other, o): AttentionSlice[] => {
      const seen = other.pass === entry.pass && o !== e && other.chunk.chunk >= from && other.chunk.chunk < chunk;
      return seen ? [{ queries, keys: [keysAt + o * P, keysAt + (o + 1) * P], kind: 'full' }] : [];
    });
    const first = Math.max(0, from - cachedFrom);
    return [...(first < cached ? [{ queries, keys: [first * P, keysAt] as const, kind: 'full' as const }] : []), ...others, own];
  });
}

/** Velocities of the m active chunks in every pass, [B, m, c, H, W, C], and what the finished chunk gives. */
export type CallOutputs = {
  /** With text, and with earlier chunks. */
  full: Tensor;
  /** Without text, with earlier chunks (guided). */
  previous?: Tensor;
  /** Without earlier chunks: of all active chunks, without text (guided); or of the oldest one, with text (distilled). */
  alone?: Tensor;
  /** Velocities of the finished chunk, [B, 1, c, H, W, C]. The sampler does not use them; tests compare them with the official ones. */
  clean?: { full: Tensor; previous?: Tensor };
  /** Keys and values of the finished chunk, for the cache. */
  cache?: LayerCache;
};

/** Makes all passes of a call as one pass over a longer sequence, in which a chunk sees only chunks of its own pass and cached chunks. */
export function callNetwork(params: MagiParams, inputs: CallInputs, shape: CallShape, config: MagiConfig): CallOutputs {
  const entries = entriesOf(shape);
  const latents = inputs.clean === undefined ? inputs.active : [inputs.clean, ...inputs.active];
  const [B, c, H, W, C] = latents[0]!.shape as [number, number, number, number, number];
  const P = (c * H * W) / (config.patch[0] * config.patch[1]);
  const picked = entries.map(({ at }) => at);
  const index = tf.tensor1d(picked, 'int32');
  const times = tf.gather(inputs.t, index); // -> [E]
  const perRow = (values: Tensor): Tensor => tf.tile(tf.reshape(values, [1, entries.length]), [B, 1]);
  const frames = tf.add(tf.tensor1d(picked.flatMap((at) => Array.from({ length: c }, (_, i) => at * c + i))), inputs.firstFrame);
  const outputs = magiForward(
    params,
    {
      x: tf.concat(
        picked.map((at) => latents[at]!),
        1,
      ),
      t: perRow(times),
      frames,
      texts: textsOf(params, entries, inputs.prompts, config),
      textOn: perRow(tf.tensor1d(entries.map(({ on }) => Number(on)))),
      ...(inputs.code && { step: perRow(tf.mul(inputs.code, tf.ones([entries.length]))) }),
    },
    attendSlices(slicesOf(entries, shape, inputs.caches.length, P), inputs.caches),
    config,
  );
  const chunks = tf.unstack(tf.reshape(outputs.v, [B, entries.length, c, H, W, C]), 1);
  const of = (pass: Entry['pass'], clean: boolean): Tensor | undefined => {
    const found = chunks.filter((_, e) => entries[e]!.pass === pass && entries[e]!.chunk.step < 0 === clean);
    return found.length === 0 ? undefined : tf.stack(found, 1);
  };
  const [full, previous, alone] = [of('full', false), of('previous', false), of('alone', false)];
  const [cleanFull, cleanPrevious] = [of('full', true), of('previous', true)];
  return {
    full: full!,
    ...(previous && { previous }),
    ...(alone && { alone }),
    ...(cleanFull && { clean: { full: cleanFull, ...(cleanPrevious && { previous: cleanPrevious }) } }),
    ...(shape.clean && {
      cache: cacheOf(
        outputs,
        entries.findIndex((entry) => entry.chunk.step < 0 && entry.pass === cachedPass(shape.kind)),
        P,
      ),
    }),
  };
}

/** The pass whose keys and values are cached: the one without text if there is one, as in the official code. */
const cachedPass = (kind: CallKind): Entry['pass'] => (kind === 'guided' ? 'previous' : 'full');

/** Keys and values of the P tokens of one entry, layer by layer. */
export function cacheOf({ keys, values }: Pick<MagiOutputs, 'keys' | 'values'>, entry: number, P: number): LayerCache {
  const of = (x: Tensor): Tensor => tf.slice(x, [0, 0, entry * P, 0], [x.shape[0]!, x.shape[1]!, P, x.shape[3]!]);
  return { keys: keys.map(of), values: values.map(of) };
}

/** The texts of all entries: the prompts of those that have their own, then one null caption for all others. */
function textsOf(params: MagiParams, entries: readonly Entry[], prompts: readonly Prompt[], config: MagiConfig): TextGroup[] {
  const own = entries.filter((entry) => entry.own);
  const first = own[0]!.at;
  const stacked = (name: keyof Prompt): Tensor =>
    tf.stack(
      own.map(({ at }) => prompts[at - first]![name]),
      1,
    );
  const rest = entries.length - own.length;
  const texts: TextGroup[] = [{ chunks: own.length, features: stacked('features'), mask: stacked('mask') }];
  if (rest > 0) texts.push({ chunks: rest, features: nullText(params.y_embedder, config.nullTokens) });
  return texts;
}

/**
 * A call with one whole given chunk `clean` [B, c, H, W, C], which sees itself and the last `seen` cached chunks: its keys and values for the cache,
 * and its velocity [B, c, H, W, C].
 */
export function callClean(
  params: MagiParams,
  inputs: { clean: Tensor; t: Tensor; firstFrame: Tensor; code?: Tensor; caches: LayerCache[] },
  { kind, seen }: { kind: CallKind; seen: number },
  config: MagiConfig,
): { v: Tensor; cache: LayerCache } {
  const [B, c, H, W] = inputs.clean.shape as [number, number, number, number];
  const P = (c * H * W) / (config.patch[0] * config.patch[1]);
  const cached = inputs.caches.length;
  const slices: AttentionSlice[] = [{ queries: [0, P], keys: [(cached - seen) * P, (cached + 1) * P], kind: 'full' }];
  const outputs = magiForward(
    params,
    {
      x: inputs.clean,
      t: tf.mul(inputs.t, tf.ones([B, 1])),
      frames: tf.add(tf.range(0, c, 1, 'float32'), inputs.firstFrame),
      texts: [{ chunks: 1, features: nullText(params.y_embedder, config.nullTokens) }],
      textOn: tf.fill([B, 1], kind === 'guided' ? 0 : 1),
      ...(inputs.code && { step: tf.mul(inputs.code, tf.ones([B, 1])) }),
    },
    attendSlices(slices, inputs.caches),
    config,
  );
  return { v: outputs.v, cache: cacheOf(outputs, 0, P) };
}
