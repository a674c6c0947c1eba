import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { shown } from '@atelier/tensor';
import { z } from 'zod';
import { onDisk, StopError } from '../runner/errors.ts';
import type { Experiment } from '../runner/experiment.ts';
import { readRecords } from '../runner/kept-run.ts';
import { readJson } from '../runner/read-json.ts';
import { writeFile } from '../runner/write-file.ts';
import { adoptRun } from './adopt-run.ts';
import type { SweepPlan } from './sweep-plan.ts';

/** `sweeps/<name>.json`, as `runSweep` writes it. */
const sweepPlanSchema: z.ZodType<SweepPlan> = z.strictObject({
  name: z.string().regex(/^[\w-]{1,200}$/, 'wanted a name of at most 200 letters, digits and dashes'),
  jobs: z
    .array(
      z.strictObject({
        experiment: z.string(),
        preset: z.string(),
        words: z.array(z.string()),
        label: z.string(),
        configHash: z.string(),
      }),
    )
    .min(1),
});

/**
 * Puts the runs of the shards of a sweep together: checks that every run of the sweep is finished in exactly one of the folders, and copies the runs. Without an error
 * nothing is missing and nothing is there twice. Where something is wrong, nothing is copied.
 *
 * @param folders folders of runs, one for each shard
 * @param into folder of runs that gets all of them; runs that are there already count too
 * @returns what to say
 * @throws StopError that names the first run that is missing or doubled
 */
export async function mergeRunFolders(experiments: readonly Experiment[], folders: readonly string[], into: string): Promise<string[]> {
  const places = [...new Set([into, ...folders].map((folder) => resolve(folder)))].filter((folder) => existsSync(folder));
  const plans = new Map<string, SweepPlan>();
  for (const folder of places) for (const plan of readPlans(folder)) plans.set(plan.name, plan);
  if (plans.size === 0) throw new StopError(`merge: wanted folders of runs that hold a sweep, got none in ${folders.join(', ')}`);
  const copies: string[] = [];
  const lines: string[] = [];
  const found = new Map<string, string[]>();
  for (const folder of places)
    for (const { id, configHash, status } of readRecords(folder))
      if (status === 'finished') found.set(configHash, [...(found.get(configHash) ?? []), join(folder, id)]);
  for (const { name, jobs } of plans.values()) {
    const seen = new Set<string>();
    const twin = jobs.find(({ configHash }) => seen.size === seen.add(configHash).size);
    if (twin !== undefined) throw new StopError(`merge: ${name}: wanted different runs in the plan, got ${shown(twin.label)} twice`);
    const missing = jobs.filter(({ configHash }) => !found.has(configHash));
    if (missing.length > 0)
      throw new StopError(`merge: ${name}: ${missing.length} of ${jobs.length} runs are missing, the first is ${shown(missing[0]!.label)}`);
    for (const { configHash, label } of jobs) {
      const paths = found.get(configHash)!;
      if (paths.length > 1) throw new StopError(`merge: ${name}: ${shown(label)} is there ${paths.length} times: ${paths.join(', ')}`);
      if (resolve(paths[0]!, '..') !== resolve(into)) copies.push(paths[0]!);
    }
    lines.push(`${name}: ${jobs.length} runs, none missing, none twice`);
  }
  for (const from of copies) {
    const temporary = join(into, `.merged-${basename(from)}`);
    onDisk(temporary, () => {
      rmSync(temporary, { recursive: true, force: true });
      cpSync(from, temporary, { recursive: true });
    });
    await adoptRun(experiments, temporary, into);
  }
  for (const plan of plans.values()) await writeFile(join(into, 'sweeps', `${plan.name}.json`), `${JSON.stringify(plan, null, 2)}\n`);
  return [...lines, `${copies.length} runs copied to ${into}`];
}

function readPlans(folder: string): SweepPlan[] {
  const place = join(folder, 'sweeps');
  if (!existsSync(place)) return [];
  return onDisk(place, () => readdirSync(place))
    .filter((file) => file.endsWith('.json'))
    .map((file) => readJson(join(place, file), sweepPlanSchema));
}
