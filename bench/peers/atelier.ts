/**
 * Runs a task of the engine bench in a separate process. It reads commands as `protocol.py` does: `prepare <name>`, `measure <n>`,
 * `memory`. The first argument is the engine: one of TensorFlow.js's as a peer, or `ort` to measure our own memory.
 */
import { tf, useEngine } from '@atelier/tensor';
import { inProcess } from '../harness/contest.ts';
import { servePeer } from '../harness/serve.ts';
import { engineWorks, type EngineWork, type EngineWorkName } from '../workloads/engine.ts';

let work: EngineWork | undefined;

async function obey(command: string, argument: string): Promise<unknown> {
  if (command === 'prepare') {
    const name = JSON.parse(argument) as EngineWorkName;
    if (!Object.hasOwn(engineWorks, name)) throw new Error(`prepare: wanted one of ${Object.keys(engineWorks).join(', ')}, got '${name}'`);
    work = engineWorks[name]();
    return { check: await work.check() };
  }
  if (command === 'memory') return process.resourceUsage().maxRSS / 1024;
  if (command === 'measure' && work !== undefined) return inProcess('', work.step).measure(Number(argument));
  throw new Error(`wanted prepare, then measure or memory, got '${command}'`);
}

await servePeer(async () => ({ engine: await useEngine(process.argv[2]), version: tf.version['tfjs-core'] }), obey);
