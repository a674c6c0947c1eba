import fc from 'fast-check';
import { registerOrt } from '../src/register.ts';
import { faultsOf } from './check.ts';
import { programs, show, type Program } from './program.ts';

/**
 * `pnpm --filter @atelier/backend-ort fuzz [cases] [seed] [from]`: random programs on `ort` and on TensorFlow.js's `cpu`. It goes on after a difference.
 * At the end it makes the first programs with a difference shorter.
 */

const [cases = 10_000, seed = 1, from = 0] = process.argv.slice(2).map(Number);
const SHORTENED = 3;
registerOrt();

const different: number[] = [];
for (const [i, program] of fc.sample(programs, { numRuns: cases, seed }).entries()) {
  if (i < from) continue;
  const faults = await faultsOf(program);
  if (faults.length === 0) continue;
  different.push(i);
  console.log(`case ${i}: ${faults.join('\n')}`);
}
const property = fc.asyncProperty(programs, async (program) => {
  const faults = await faultsOf(program);
  if (faults.length > 0) throw new Error(faults.join('\n'));
});
for (const i of different.slice(0, SHORTENED)) {
  const { counterexample, numShrinks, errorInstance } = await fc.check(property, { seed, path: String(i) });
  if (counterexample === null) throw new Error(`case ${i} of seed ${seed}: wanted the same program again, got another`);
  const [program] = counterexample as [Program];
  console.log(`\ncase ${i} of seed ${seed}, made shorter ${numShrinks} times:\n${show(program)}\n${(errorInstance as Error).message}`);
}
console.log(
  `${cases - from} programs, seed ${seed}: ${different.length === 0 ? 'ort and cpu agree' : `${different.length} with a difference`}`,
);
process.exitCode = different.length === 0 ? 0 : 1;
