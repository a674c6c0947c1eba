/** Runs a program of `pnpm bench programs` on an engine of TensorFlow.js, in a separate process. The first argument is the engine. */
import { tf, useEngine } from '@atelier/tensor';
import { inProcess } from '../harness/contest.ts';
import { servePeer } from '../harness/serve.ts';
import { programs, type ProgramName, type ProgramWork } from '../workloads/programs.ts';

let work: ProgramWork | undefined;

await servePeer(
  async () => ({ engine: await useEngine(process.argv[2]), version: tf.version['tfjs-core'] }),
  async (command, argument) => {
    if (command === 'prepare') {
      work = programs[JSON.parse(argument) as ProgramName]();
      return { check: [await work.eager()] };
    }
    if (command === 'measure' && work !== undefined) return inProcess('', async () => void (await work!.eager())).measure(Number(argument));
    throw new Error(`wanted prepare, then measure, got '${command}'`);
  },
);
