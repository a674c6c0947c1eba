/** `pnpm --filter @atelier/backend-ort conformance`: runs TensorFlow.js's suite on `cpu` and `ort` and writes CONFORMANCE.md. */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compare, count, runInChild } from './compare.ts';
import { report } from './report.ts';

const outcomes = compare(await runInChild('cpu'), await runInChild('ort'));
writeFileSync(join(dirname(fileURLToPath(import.meta.url)), '..', 'CONFORMANCE.md'), report(outcomes));
for (const { group, name, status, reason, message } of outcomes) {
  if (status !== 'passed') console.log(`${status}: ${group} › ${name}: ${reason ?? message ?? 'no reason given'}`);
}
const { passed, failed, skipped } = count(outcomes);
console.log(`conformance: ${passed} passed, ${failed} failed, ${skipped} skipped of ${outcomes.length}`);
if (outcomes.some(({ status, reason }) => status !== 'passed' && reason === undefined)) process.exitCode = 1;
