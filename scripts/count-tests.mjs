import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Adds up the JSON reports of vitest in a folder, one file per package, and lists the tests that were skipped (their titles say why) and those
 * that failed. A test file that could not be loaded counts as one failure.
 * @returns {{ passed: number, failed: number, skipped: number, skips: string[], problems: string[] }}
 */
export function countTests(folder) {
  const total = { passed: 0, failed: 0, skipped: 0, skips: [], problems: [] };
  for (const file of readdirSync(folder).sort()) {
    let report;
    try {
      report = JSON.parse(readFileSync(join(folder, file), 'utf8'));
    } catch {
      total.failed += 1;
      total.problems.push(`${file}: the report of the tests is damaged`);
      continue;
    }
    total.passed += report.numPassedTests;
    total.failed += report.numFailedTests;
    total.skipped += report.numPendingTests + report.numTodoTests;
    for (const { name, status, assertionResults } of report.testResults) {
      for (const { fullName, status: state } of assertionResults)
        if (state === 'skipped' || state === 'pending') total.skips.push(`skipped: ${file.replace(/\.json$/, '')}: ${fullName}`);
      const failures = assertionResults.filter((result) => result.status === 'failed');
      for (const { fullName } of failures) total.problems.push(`failed: ${file.replace(/\.json$/, '')}: ${fullName}`);
      if (status !== 'failed' || failures.length > 0) continue;
      total.failed += 1;
      total.problems.push(`failed: ${name} could not be run`);
    }
  }
  return total;
}
