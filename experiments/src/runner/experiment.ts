import type { HostTensor, Rng, Tensor, Tree } from '@atelier/tensor';
import type { z } from 'zod';

/**
 * The interface between the runner and the papers. An experiment is one value of type `Experiment`; the runner gives its `run` a `RunContext`.
 *
 * **`run` must be replayable.** When a run that was killed is resumed, `run` is called again from its first line with the same configuration
 * and seed. Put everything that takes time into `trainLoop` (train-loop.ts) or `context.stage`. Both remember what was finished and skip it, so a
 * resumed run passes its finished stages at once and continues inside the one that was interrupted. Everything outside of them is done again, so it
 * should be short. Every random number should come from a child stream of `context.rng` with a unique name: such streams depend only on the seed and
 * the names. Then a resumed run ends with exactly the same bits as a run that was never killed.
 *
 * ```ts
 * export const meanflow = defineExperiment({
 *   name: 'meanflow',
 *   paper: { slug: 'meanflow', title: 'Mean Flows for One-step Generative Modeling', arxiv: '2505.13447' },
 *   title: 'One-step generation, MeanFlow beside flow matching',
 *   schema: z.object({ seed: z.int().min(0).default(0), steps: z.int().min(1).default(3000) }),
 *   presets: { smoke: { steps: 600 }, full: {}, paper: { steps: 400_000 } },
 *   claims: [{ id: 'one-step', claim: '…', where: 'Table 1', published: '…', how: '…', bound: { atMost: 0.2 }, presets: ['full'] }],
 *   async run(context) {
 *     const { state } = await trainLoop({ context, name: 'mf', steps: context.config.steps, init, batch, step });
 *     const { ratio } = await context.stage('evaluate', async () => ({ ratio: await compare(state) }));
 *     await context.claim('one-step', ratio);
 *     disposeTree(state);
 *   },
 * });
 * ```
 */
export interface Experiment<Config extends BaseConfig = BaseConfig> {
  /** The name to type after `atelier run`: lower-case letters, digits and dashes. */
  readonly name: string;
  readonly paper: Paper;
  /** One line for `atelier list`. */
  readonly title: string;
  /** An object schema in which **every key has a default**, so that a preset only states what differs. `seed` is a key like the others. */
  readonly schema: z.ZodType<Config>;
  /** `smoke` ends within 60 s on 2 cores and is the default; `full` takes 10–30 min; `paper` states the published settings. */
  readonly presets: { readonly smoke: PartialConfig<Config> } & Readonly<Record<string, PartialConfig<Config>>>;
  /** All headline claims of the paper, also those out of reach here: each gets a row in the ledger. */
  readonly claims: readonly ClaimDefinition<Config>[];
  /** How the report draws a series of `metrics.jsonl`. A series without an answer is a method of its own, on axes of its own. */
  curve?(series: string): Curve | undefined;
  run(context: RunContext<Config>): Promise<void>;
  /** Its place in `atelier tour`: a preset of about a minute, what that shows in one line, and the figure to look at. */
  readonly tour?: { readonly preset: string; readonly shows: string; readonly figure: string };
  /** The networks of a finished run that samples can be drawn from, the one to show first. They are named like their stages. */
  drawers?(run: SavedRun<Config>): readonly NamedDrawer[];
}

/** How the report draws a series. */
export interface Curve {
  /** The method, as people read it. Repetitions with other seeds are one method: they share its colour and its place in the legend. */
  readonly method: string;
  /** Index into the colours of the pictures: the same as in the charts that the experiment draws. */
  readonly color: number;
  /** What is trained here (`checkerboard`). Series of one group share the axes of every metric. */
  readonly group: string;
  /** What the metric `loss` measures, if the losses of the group measure different things. Each kind of loss has axes of its own. */
  readonly loss?: string;
}

/** The key that every configuration has. All randomness of a run comes from `seed`. */
export interface BaseConfig {
  readonly seed: number;
}

export interface Paper {
  /** Name of the package: `meanflow`. */
  readonly slug: string;
  readonly title: string;
  /** `2505.13447` */
  readonly arxiv: string;
}

/** A configuration of which any part may be missing; lists are replaced whole. */
export type PartialConfig<T> = T extends readonly unknown[] ? T : T extends object ? { readonly [K in keyof T]?: PartialConfig<T[K]> } : T;

/**
 * A claim of the paper and the bound that decides it, fixed before anything is measured. `context.claim` supplies the number; the verdict is
 * `reproduced` if it lies within the bound, else `direction only` or `not reproduced` (see `neutral`).
 */
export interface ClaimDefinition<Config extends BaseConfig = BaseConfig> {
  /** Unique within the experiment: lower-case letters, digits and dashes. */
  readonly id: string;
  /** The claim in at most 15 words. */
  readonly claim: string;
  /** Where it stands in the paper: `Table 4`, `Sec. 5.1`. */
  readonly where: string;
  /** The published value, as text: `FID 61.06 against 328.91 (B/4, 80 epochs)`. */
  readonly published: string;
  /** How the number is measured here. */
  readonly how: string;
  /** The sizes and the number of steps, from the configuration that ran; the ledger prints this after `how`. */
  scale?(config: Config): string;
  /** The bound that the measured number must satisfy (both ends, if both are given), or why it cannot be measured here. */
  readonly bound: { readonly atLeast?: number; readonly atMost?: number } | { readonly outOfReach: string };
  /**
   * The value at which neither side of the comparison is ahead: 1 for a ratio, 0 for a difference. A number that misses the bound, but is on its side of the
   * neutral value, shows the direction of the claim. Absent where a claim has no direction ("about as good").
   */
  readonly neutral?: number;
  /** The presets that measure it, shortest first; empty if it is out of reach. If a claim has no number yet, the ledger names the first of these presets. */
  readonly presets: readonly string[];
}

/** A drawn picture; `imageGrid`, `scatterGrid` and `lineChart` (pictures/) make them. */
export interface Picture {
  readonly png: Uint8Array;
  /** Present for charts; the report prefers it. */
  readonly svg?: string;
  readonly width: number;
  readonly height: number;
}

/** What the runner gives to the experiment. */
export interface RunContext<Config extends BaseConfig = BaseConfig> {
  /** Checked and complete. */
  readonly config: Config;
  readonly preset: string;
  /** `new Rng(config.seed)`. Take children by name; draw from this stream itself only outside of stages. */
  readonly rng: Rng;
  /** The run folder, absolute. The methods below write into it; an experiment may keep files of its own in a folder inside of it. */
  readonly folder: string;
  /** Aborted by the first Ctrl-C. Long computations should call `signal.throwIfAborted()`; `trainLoop` and `stage` already do so. */
  readonly signal: AbortSignal;
  readonly checkpoints: Checkpoints;
  readonly progress: Progress;

  /**
   * Appends one line to `metrics.jsonl`. `series` separates curves (a stage's name). A line that a resumed run writes again is kept only once.
   * @throws Error if a number is not finite.
   */
  log(metrics: Readonly<Record<string, number>>, step: number, series?: string): void;

  /** The lines of a series in `metrics.jsonl`: the step and the numbers. */
  lines(series: string): readonly Readonly<Record<string, number | string>>[];

  /** Removes the lines of a series after `step`. `trainLoop` calls this when it goes back to a checkpoint. */
  rewind(series: string, step: number): Promise<void>;

  /** Writes `samples/<name>-step-000500.png`. Draw from fixed noise (from a separate stream), so that the steps can be compared. */
  samples(name: string, step: number, picture: Picture): Promise<void>;

  /** Writes `figures/<name>.png` (and `.svg` for a chart), which the report shows under `caption`. */
  figure(name: string, picture: Picture, caption?: string): Promise<void>;

  /**
   * Records the measured number of a claim for the ledger; `detail` may say what it is made of (`MF 4.9e-3, FM 584e-3`). If the preset does not measure
   * the claim, nothing is recorded: with other steps and sizes the number would have another meaning.
   * @throws Error for an id that the experiment does not define, a claim that is out of reach, or a number that is not finite.
   */
  claim(id: string, measured: number, detail?: string): Promise<void>;

  /** Whether the preset measures a claim, to skip work that only this claim needs. @throws Error for an id that the experiment does not define. */
  measures(id: string): boolean;

  /** Work whose result is plain JSON (an evaluation), done once: a resumed run gets the remembered result. Names are unique within a run. */
  stage<T extends Json>(name: string, work: () => Promise<T> | T): Promise<T>;

  /** Prints one plain line for the user. */
  note(text: string): void;
}

/** What a finished run leaves to draw from. */
export type SavedRun<Config extends BaseConfig = BaseConfig> = Pick<RunContext<Config>, 'config' | 'rng' | 'checkpoints'>;

/** A network of a finished run by its name. `open` reads its weights. */
export interface NamedDrawer {
  readonly name: string;
  /** @throws StopError if its checkpoint is missing or does not fit. */
  open(): Promise<Drawer>;
}

/** A trained network that draws samples: what `atelier sample` and `atelier export` need of a paper. */
export interface Drawer {
  /** How it draws, and what a step is: `jumps of the average velocity; a step is one evaluation of the network`. */
  readonly method: string;
  /** What it was trained on: `letters of 16 x 16 pixels`. */
  readonly data: string;
  /** Shape of one sample: points [2], images [H, W, C], or videos [F, H, W, C]. */
  readonly shape: readonly number[];
  /** Values shown as black and as white; -1 and 1 by default. */
  readonly range?: readonly [number, number];
  /** Names of the classes that can be asked for; empty if there are none. */
  readonly classNames: readonly string[];
  /** Steps if none are asked for; absent if their number belongs to the network. */
  readonly steps?: number;
  /** The random numbers of n samples by name: their shapes, and the law that each number has by itself. */
  noise(n: number, steps: number): { readonly [name: string]: { readonly shape: readonly number[]; readonly law: 'normal' | 'uniform' } };
  /**
   * The samples [n, …shape] float32 from the random numbers, and from `y` [n] int32 where there are classes. A pure function that reads no values: it is
   * compiled, with the weights as constants.
   */
  draw(inputs: { readonly [name: string]: Tensor }, steps: number): Tensor;
  /** The tensors that `draw` closes over; the caller must dispose them. */
  readonly weights: Tree;
}

/** Plain JSON; numbers must be finite, because JSON has no others. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/**
 * Files `checkpoints/<name>.safetensors`: trees of tensors and JSON state in one file, which replaces its predecessor at once (temporary name,
 * fsync, rename). After a kill at any moment, the complete old file or the complete new file is there. A checksum detects damage.
 */
export interface Checkpoints {
  /** @throws StopError if a tensor holds a number that is not finite (the previous file stays) or the disk refuses. */
  save(name: string, trees: Readonly<Record<string, Tree>>, state: Json): Promise<void>;
  /** The last saved state, or null if there is none. @throws StopError if the file is damaged. */
  load(name: string): Promise<Checkpoint | null>;
}

export interface Checkpoint {
  readonly state: Json;
  /** The saved tensors by `<tree>.<path>`, on the host. */
  readonly tensors: Readonly<Record<string, HostTensor>>;
  /** The tree called `name` as new tensors in the structure of `like`. @throws StopError if names, shapes or dtypes differ. */
  tree<T extends Tree>(name: string, like: T): T;
}

/** One line on a terminal, plain lines now and then without one. Starting the next one ends the one before. */
export interface Progress {
  start(label: string, total: number, done?: number): void;
  /** @param text stands before the metrics, for what numbers do not say */
  update(done: number, metrics?: Readonly<Record<string, number>>, text?: string): void;
  stop(): void;
}

/** Something whose position can be saved and restored, such as the next index and the order of a data set. */
export interface Resumable {
  state(): Json;
  restore(state: Json): void;
}

/** The experiment itself; infers its configuration type from the schema. */
export function defineExperiment<Config extends BaseConfig>(experiment: Experiment<Config>): Experiment<Config> {
  return experiment;
}
