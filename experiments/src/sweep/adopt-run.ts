import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { onDisk } from '../runner/errors.ts';
import type { Experiment } from '../runner/experiment.ts';
import { writeReport } from '../runner/report-html.ts';
import { readClaims } from '../runner/run-context.ts';
import { RunFolder } from '../runner/run-folder.ts';
import { findExperiment } from '../runner/run.ts';
import { writeFile } from '../runner/write-file.ts';

/**
 * Moves a copy of a run folder into a folder of runs, under its id. Runs of two machines may have begun within the same second: then it gets another id.
 *
 * @param from on the same disk
 * @returns its id there
 */
export async function adoptRun(experiments: readonly Experiment[], from: string, runs: string): Promise<string> {
  const folder = RunFolder.at(from);
  const { id } = folder.record;
  let name = id;
  for (let n = 2; existsSync(join(runs, name)); n++) name = `${id}-${n}`;
  if (name !== id) {
    const claims = readClaims(from);
    if (claims.length > 0)
      await writeFile(
        join(from, 'claims.json'),
        `${JSON.stringify(
          claims.map((row) => ({ ...row, run: name })),
          null,
          2,
        )}\n`,
      );
    await folder.update({ id: name });
    await writeReport(findExperiment(experiments, folder.record.experiment), from);
  }
  onDisk(join(runs, name), () => renameSync(from, join(runs, name)));
  return name;
}
