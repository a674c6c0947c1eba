/**
 * Runs a task of the engine bench in a separate process. It reads commands as `protocol.py` does: `prepare <name>`, `measure <n>`,
 * `memory`. The first argument is the engine: one of TensorFlow.js's as a peer, or `ort` to measure our own memory.
 */
import { createInterface } from 'node:readline';
import { tf, useEngine } from '@atelier/tensor';
import { inProcess } from '../harness/contest.ts';
import { engineWorks, type EngineWork, type EngineWorkName } from '../workloads/engine.ts';

const answer = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
// Output of libraries goes to stderr, so that it is not read as an answer.
console.log = console.info = console.warn;

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

const sentence = (error: unknown): { error: string } => ({
  error: (error instanceof Error ? error.message : String(error)).split('\n')[0]!,
});

try {
  const engine = await useEngine(process.argv[2]);
  answer({ engine, version: tf.version['tfjs-core'] });
  for await (const line of createInterface({ input: process.stdin })) {
    const space = line.indexOf(' ');
    const [command, argument] = space < 0 ? [line, ''] : [line.slice(0, space), line.slice(space + 1)];
    answer(await obey(command, argument).catch(sentence));
  }
} catch (error) {
  answer(sentence(error));
}
