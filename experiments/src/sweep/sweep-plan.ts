import { createHash } from 'node:crypto';
import { configHash, resolveConfig } from '../runner/config.ts';
import { shown } from '@atelier/tensor';
import { StopError } from '../runner/errors.ts';
import type { Experiment } from '../runner/experiment.ts';

/** One run of a sweep. */
export interface SweepJob {
  readonly experiment: string;
  readonly preset: string;
  /** `key=value`, with one value each. */
  readonly words: readonly string[];
  /** The words that differ between the jobs of the sweep. */
  readonly label: string;
  readonly configHash: string;
}

/** A sweep: its jobs in their order, and a name that follows from what was asked for. */
export interface SweepPlan {
  /** `meanflow-smoke-1a2b3c4d5e6f` */
  readonly name: string;
  readonly jobs: readonly SweepJob[];
}

/** The most runs of one sweep. */
const MOST = 10_000;

/**
 * The runs that `key=a,b seed=0..4` stands for. Values are separated by commas, outside of brackets and quotes; `0..4` stands for all whole numbers from 0 to 4.
 *
 * @param way `grid`: every combination of the values, the last key first; `list`: the first values of all keys together, then the second ones, and so on
 * @throws StopError for a wrong word, lists of unequal lengths, two equal runs, or too many
 */
export function planSweep(experiment: Experiment, preset: string, words: readonly string[], way: 'grid' | 'list' = 'grid'): SweepPlan {
  const axes = words.map((word) => valuesOf(experiment.name, word));
  const lengths = axes.map(({ length }) => length).filter((length) => length > 1);
  const count = way === 'grid' ? lengths.reduce((product, length) => product * length, 1) : Math.max(1, ...lengths);
  if (count > MOST) throw new StopError(`sweep: wanted at most ${MOST} runs, got ${count}`);
  if (way === 'list' && lengths.some((length) => length !== count))
    throw new StopError(`sweep: wanted as many values of each key for --list, got ${lengths.join(' and ')}`);
  const jobs: SweepJob[] = [];
  const seen = new Map<string, string>();
  for (let i = 0; i < count; i++) {
    const chosen = way === 'grid' ? combination(axes, i) : axes.map((values) => values[values.length === 1 ? 0 : i]!);
    const label = chosen.filter((_, k) => axes[k]!.length > 1).join(' ') || 'one run';
    const hash = configHash(resolveConfig(experiment, preset, chosen));
    const twin = seen.get(hash);
    if (twin !== undefined)
      throw new StopError(`sweep: wanted different runs, got ${shown(twin)} and ${shown(label)}, which have the same configuration`);
    seen.set(hash, label);
    jobs.push({ experiment: experiment.name, preset, words: chosen, label, configHash: hash });
  }
  const hash = createHash('sha256')
    .update(jobs.map(({ configHash: one }) => one).join())
    .digest('hex');
  return { name: `${experiment.name}-${preset}-${hash.slice(0, 12)}`, jobs };
}

/** The words of one combination; the last key changes fastest. */
function combination(axes: readonly (readonly string[])[], index: number): string[] {
  const out: string[] = [];
  for (const values of axes.toReversed()) {
    out.unshift(values[index % values.length]!);
    index = Math.floor(index / values.length);
  }
  return out;
}

/** `key=a,b` as `key=a` and `key=b`. */
function valuesOf(name: string, word: string): string[] {
  const at = word.indexOf('=');
  if (at < 1) throw new StopError(`${name}: wanted key=value, got ${shown(word)}`);
  const [key, text] = [word.slice(0, at), word.slice(at + 1)];
  return splitValues(text).flatMap((part) => {
    const [, first, last] = /^(\d{1,9})\.\.(\d{1,9})$/.exec(part) ?? [];
    if (first === undefined) return [`${key}=${part}`];
    const [from, to] = [Number(first), Number(last)];
    if (to < from) throw new StopError(`${name}: ${shown(key)}: wanted a range from the smaller to the larger number, got ${part}`);
    if (to - from >= MOST) throw new StopError(`sweep: wanted at most ${MOST} runs, got ${to - from + 1}`);
    return Array.from({ length: to - from + 1 }, (_, i) => `${key}=${from + i}`);
  });
}

/** The parts of a text between commas that stand outside of brackets and quotes. */
function splitValues(text: string): string[] {
  const parts = [''];
  let [depth, quote] = [0, ''];
  for (const char of text) {
    if (quote !== '') quote = char === quote ? '' : quote;
    else if (char === '"' || char === "'") quote = char;
    else if ('[{'.includes(char)) depth++;
    else if (']}'.includes(char)) depth--;
    else if (char === ',' && depth === 0) {
      parts.push('');
      continue;
    }
    parts[parts.length - 1] += char;
  }
  return parts.map((part) => part.trim());
}
