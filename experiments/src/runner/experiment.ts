import type { HostTensor, Rng, Tree } from '@atelier/tensor';
import type { z } from 'zod';

/**
 * The border between the runner and the papers. An experiment is one value of type `Experiment`; the runner gives its `run` a `RunContext`.
 *
 * **`run` must be replayable.** When a run that was killed is resumed, `run` is called again from its first line with the same configuration
 * and seed. What costs time goes into `trainLoop` (train-loop.ts) or `context.stage`; both remember what was finished and skip it, so a resumed
 * run passes its finished stages at once and goes on inside the one that was cut. Everything outside of them is done again, so it should
 * be short, and every random number should come from a child stream of `context.rng` with a name of its own: such streams depend on
 * the seed and the names alone. A run that is resumed in this way ends with the very bits of one that was never killed.
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
  /** What one types after `atelier run`: lower-case letters, digits and dashes. */
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
  run(context: RunContext<Config>): Promise<void>;
}

/** The least a configuration has. All randomness of a run comes from `seed`. */
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
 * `reproduced` if it lies within the bound, else `not reproduced`.
 */
export interface ClaimDefinition<Config extends BaseConfig = BaseConfig> {
  /** Unique within the experiment: lower-case letters, digits and dashes. */
  readonly id: string;
  /** The claim in one sentence. */
  readonly claim: string;
  /** Where it stands in the paper: `Table 4`, `Sec. 5.1`. */
  readonly where: string;
  /** The published value, as text: `FID 61.06 against 328.91 (B/4, 80 epochs)`. */
  readonly published: string;
  /** How the number is measured here. */
  readonly how: string;
  /** At which sizes and for how many steps, from the configuration that ran; the ledger says it behind `how`. */
  scale?(config: Config): string;
  /** What the measured number must satisfy (both ends where both are given), or why it cannot be measured here. */
  readonly bound: { readonly atLeast?: number; readonly atMost?: number } | { readonly outOfReach: string };
  /** The presets that measure it, shortest first; empty when it is out of reach. The ledger names the first one where a claim has no number yet. */
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

/** What a run offers to the experiment. */
export interface RunContext<Config extends BaseConfig = BaseConfig> {
  /** Checked and complete. */
  readonly config: Config;
  readonly preset: string;
  /** `new Rng(config.seed)`. Take children by name; draw from this stream itself only outside of stages. */
  readonly rng: Rng;
  /** The run folder, absolute. The methods below write into it; nothing else should. */
  readonly folder: string;
  /** Aborted by the first Ctrl-C. Long work of one's own should call `signal.throwIfAborted()`; `trainLoop` and `stage` do so themselves. */
  readonly signal: AbortSignal;
  readonly checkpoints: Checkpoints;
  readonly progress: Progress;

  /**
   * Appends one line to `metrics.jsonl`. `series` separates curves (a stage's name). A line that a resumed run writes again is not doubled.
   * @throws Error if a number is not finite.
   */
  log(metrics: Readonly<Record<string, number>>, step: number, series?: string): void;

  /** Forgets the lines of a series after `step`: what `trainLoop` calls when it goes back to a checkpoint. */
  rewind(series: string, step: number): Promise<void>;

  /** Writes `samples/<name>-step-000500.png`. Draw from noise that is fixed by a stream of its own, so that the steps can be compared. */
  samples(name: string, step: number, picture: Picture): Promise<void>;

  /** Writes `figures/<name>.png` (and `.svg` for a chart), which the report shows under `caption`. */
  figure(name: string, picture: Picture, caption?: string): Promise<void>;

  /**
   * Enters the measured number of a claim into the ledger; `detail` may say what it is made of (`MF 4.9e-3, FM 584e-3`). A claim that the preset
   * does not measure is not entered: with other steps and sizes the number would mean something else.
   * @throws Error for an id that the experiment does not define, a claim that is out of reach, or a number that is not finite.
   */
  claim(id: string, measured: number, detail?: string): Promise<void>;

  /** Whether the preset measures a claim, for work that is done for its sake alone. @throws Error for an id that the experiment does not define. */
  measures(id: string): boolean;

  /** Work whose result is plain JSON (an evaluation), done once: a resumed run gets the remembered result. Names are unique within a run. */
  stage<T extends Json>(name: string, work: () => Promise<T> | T): Promise<T>;

  /** One plain line for whoever watches. */
  note(text: string): void;
}

/** Plain JSON; numbers must be finite, because JSON has no others. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/**
 * Files `checkpoints/<name>.safetensors`: trees of tensors and JSON state in one file, which replaces its predecessor at once (temporary name,
 * fsync, rename). A kill at any moment leaves the old one or the new one whole. A checksum finds damage.
 */
export interface Checkpoints {
  /** @throws StopError if a tensor holds a number that is not finite (the previous file stays) or the disk refuses. */
  save(name: string, trees: Readonly<Record<string, Tree>>, state: Json): Promise<void>;
  /** What was saved last, or null if there is nothing. @throws StopError if the file is damaged. */
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
  update(done: number, metrics?: Readonly<Record<string, number>>): void;
  stop(): void;
}

/** Something with a place that can be saved, such as the cursor of a data set. */
export interface Resumable {
  state(): Json;
  restore(state: Json): void;
}

/** The experiment itself; infers its configuration type from the schema. */
export function defineExperiment<Config extends BaseConfig>(experiment: Experiment<Config>): Experiment<Config> {
  return experiment;
}
