import { interruptSignal } from '../src/runner/interrupt.ts';
import { main } from '../src/runner/command-line.ts';
import { linearRegression } from './linear-regression.ts';

// The command line over the experiment of the tests, for tests that need a process of its own.
const signal = interruptSignal(() => {});
process.exitCode = await main(process.argv.slice(2), [linearRegression], { out: process.stdout, err: process.stderr, signal });
