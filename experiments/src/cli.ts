import { interruptSignal } from './runner/interrupt.ts';
import { main } from './runner/command-line.ts';
import { experiments } from './registry.ts';

const signal = interruptSignal(() => process.stderr.write('\nstopping at the next step; Ctrl-C once more stops at once\n'));
process.exitCode = await main(process.argv.slice(2), experiments, { out: process.stdout, err: process.stderr, signal });
