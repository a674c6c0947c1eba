import { z } from 'zod';
import { StopError } from './errors.ts';
import type { BaseConfig, ClaimDefinition, Experiment } from './experiment.ts';
import { numberText } from './number-text.ts';

/** The verdicts a row of the ledger can have. */
export const verdictSchema = z.enum(['reproduced', 'direction only', 'not reproduced', 'out of reach', 'not measured']);
export type Verdict = z.infer<typeof verdictSchema>;

/** The mark before a verdict, so that it can be told without colours. */
export const verdictSign: Readonly<Record<Verdict, string>> = {
  reproduced: '✓',
  'direction only': '~',
  'not reproduced': '✗',
  'out of reach': '–',
  'not measured': '·',
};

const boundSchema = z.union([
  z.strictObject({ outOfReach: z.string() }),
  z.strictObject({ atLeast: z.number().optional(), atMost: z.number().optional() }),
]);

/** One entry of the ledger: a claim of a paper and what one run measured. Written by `context.claim` only. */
export const claimRecordSchema = z.strictObject({
  paper: z.string(),
  experiment: z.string(),
  id: z.string(),
  claim: z.string(),
  where: z.string(),
  published: z.string(),
  how: z.string(),
  bound: boundSchema,
  measured: z.number(),
  detail: z.string().optional(),
  verdict: verdictSchema,
  run: z.string(),
  preset: z.string(),
  /** True if keys were changed on the command line, so that the numbers are not those of the preset. */
  changed: z.boolean(),
  seed: z.number(),
  /** Hash of the whole configuration; absent in old records. */
  configHash: z.string().optional(),
  engine: z.string(),
  commit: z.string(),
  machine: z.string(),
  date: z.iso.datetime(),
});
export type ClaimRecord = z.infer<typeof claimRecordSchema>;

/**
 * `reproduced` where atLeast <= measured <= atMost; else `direction only` where the measured number is on the bound's side of the claim's neutral value.
 *
 * @throws StopError if the claim is out of reach or the number is not finite.
 */
export function judge(definition: ClaimDefinition, measured: number): Verdict {
  const where = `claim '${definition.id}'`;
  if ('outOfReach' in definition.bound)
    throw new StopError(`${where}: is out of reach (${definition.bound.outOfReach}), so nothing can be measured`);
  if (!Number.isFinite(measured)) throw new StopError(`${where}: wanted a finite number, got ${measured}`);
  const { atLeast = -Infinity, atMost = Infinity } = definition.bound;
  if (measured >= atLeast && measured <= atMost) return 'reproduced';
  const { neutral } = definition;
  const direction = neutral !== undefined && (atMost === Infinity ? measured > neutral : measured < neutral);
  return direction ? 'direction only' : 'not reproduced';
}

/** How a claim is measured, with the sizes of a configuration. */
export function howText<Config extends BaseConfig>(definition: ClaimDefinition<Config>, config: Config): string {
  return definition.scale === undefined ? definition.how : `${definition.how}; ${definition.scale(config)}`;
}

/** `≤ 0.2`, `≥ 3`, `0.9 … 1.1`, `out of reach` */
export function boundText(bound: ClaimDefinition['bound']): string {
  if ('outOfReach' in bound) return 'out of reach';
  const { atLeast, atMost } = bound;
  if (atLeast !== undefined && atMost !== undefined) return `${numberText(atLeast)} … ${numberText(atMost)}`;
  return atLeast === undefined ? `≤ ${numberText(atMost!)}` : `≥ ${numberText(atLeast)}`;
}

/** Words of a claim at most, so that a row of the ledger fits a line or two. */
const MOST_WORDS = 15;

/** @throws StopError if an experiment is not valid: a bad or repeated name, a long claim, a claim without a bound, an unknown preset. */
export function checkClaims(experiment: Pick<Experiment, 'name' | 'claims' | 'presets'>): void {
  const seen = new Set<string>();
  for (const { id, claim, bound, neutral, presets } of experiment.claims) {
    const where = `${experiment.name}: claim '${id}'`;
    if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(id)) throw new StopError(`${where}: wanted an id of lower-case letters, digits and dashes`);
    if (seen.has(id)) throw new StopError(`${where}: is defined twice`);
    seen.add(id);
    const words = claim.split(/\s+/).length;
    if (words > MOST_WORDS) throw new StopError(`${where}: wanted a claim of at most ${MOST_WORDS} words, got ${words}`);
    const stranger = presets.find((preset) => !(preset in experiment.presets));
    if (stranger !== undefined) throw new StopError(`${where}: names the preset '${stranger}', which does not exist`);
    if ('outOfReach' in bound) {
      if (presets.length > 0) throw new StopError(`${where}: is out of reach, yet the preset '${presets[0]}' should measure it`);
      continue;
    }
    const { atLeast = -Infinity, atMost = Infinity } = bound;
    if (!(atLeast <= atMost) || (atLeast === -Infinity && atMost === Infinity)) {
      throw new StopError(`${where}: wanted a bound with atLeast <= atMost, got ${JSON.stringify(bound)}`);
    }
    if (neutral !== undefined && !(atMost === Infinity ? neutral <= atLeast : atLeast === -Infinity && neutral >= atMost))
      throw new StopError(
        `${where}: wanted a bound with one end, and a neutral value outside of it, got ${neutral} and ${JSON.stringify(bound)}`,
      );
    if (presets.length === 0) throw new StopError(`${where}: wanted at least one preset that measures it, got none`);
  }
}
