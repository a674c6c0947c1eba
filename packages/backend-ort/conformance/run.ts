/** `pnpm --filter @atelier/backend-ort conformance`: runs TensorFlow.js's suite on `cpu` and `ort` and writes CONFORMANCE.md, but for the section of the value audit. */
import { readFileSync, writeFileSync } from 'node:fs';
import { errorsIn } from '../values/section.ts';
import { compare, count, runInChild } from './compare.ts';
import { report } from './report.ts';

const outcomes = compare(await runInChild('cpu'), await runInChild('ort'));
const file = new URL('../CONFORMANCE.md', import.meta.url);
writeFileSync(file, report(outcomes, errorsIn(readFileSync(file, 'utf8'))));
for (const { group, name, status, reason, message } of outcomes) {
  if (status !== 'passed') console.log(`${status}: ${group} › ${name}: ${reason ?? message ?? 'no reason given'}`);
}
const { passed, failed, skipped } = count(outcomes);
console.log(`conformance: ${passed} passed, ${failed} failed, ${skipped} skipped of ${outcomes.length}`);
if (outcomes.some(({ status, reason }) => status !== 'passed' && reason === undefined)) process.exitCode = 1;
