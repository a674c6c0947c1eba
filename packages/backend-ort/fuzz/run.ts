import fc from 'fast-check';
import { registerOrt } from '../src/register.ts';
import { faultsOf } from './check.ts';
import { programs, show, type Program } from './program.ts';

/** `pnpm --filter @atelier/backend-ort fuzz [cases] [seed]`: random programs on `ort` and on TensorFlow.js's `cpu`. */

const cases = Number(process.argv[2] ?? 10_000);
const seed = Number(process.argv[3] ?? 1);
registerOrt();

const details = await fc.check(
  fc.asyncProperty(programs, async (program) => {
    const faults = await faultsOf(program);
    if (faults.length > 0) throw new Error(faults.join('\n'));
  }),
  { numRuns: cases, seed },
);
if (details.failed) {
  const [program] = details.counterexample as [Program];
  console.error(`case ${details.numRuns} of seed ${seed}, made shorter ${details.numShrinks} times:\n${show(program)}`);
  console.error((details.errorInstance as Error).message);
  process.exitCode = 1;
} else console.log(`${cases} programs, seed ${seed}: ort and cpu agree`);
