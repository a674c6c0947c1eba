/**
 * `pnpm bench kill`: does `kill -9` at any moment lose something? It carries out a short run of every experiment, and a sweep of several processes, without a
 * disturbance. Then it starts them again, kills them at random moments, lets `atelier resume` (or the same sweep) go on, and compares: weights, states,
 * metrics, pictures and claims must be equal bit for bit, and no half-written file may be left. A quarter of the runs is killed a second time.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Rng } from '@atelier/tensor';
import { atelier, atelierKilled, faults, runsByConfig } from './harness/killed.ts';
import { machineDescription } from './harness/machine.ts';
import { tinyRuns, tinySweep } from './workloads/tiny-runs.ts';

const { values } = parseArgs({
  options: { moments: { type: 'string', default: '25' }, seed: { type: 'string', default: '0' }, only: { type: 'string' } },
});
const works = [...tinyRuns, tinySweep].filter(({ name }) => values.only === undefined || values.only === name);
const moments = Number(values.moments);
const draws = new Rng(Number(values.seed)).child('kill').uniforms(4 * moments);
const place = mkdtempSync(join(tmpdir(), 'atelier-kill-'));

console.log(machineDescription());
const references = new Map<string, { runs: string; ms: number }>();
let [killed, wrong] = [0, 0];
try {
  for (let i = 0; i < moments; i++) {
    const work = works[i % works.length]!;
    const { name, words, timed = [] } = work;
    let reference = references.get(name);
    if (reference === undefined) {
      const began = performance.now();
      const runs = join(place, name);
      const { code, err } = await atelier(words, runs);
      if (code !== 0) throw new Error(`bench kill: ${name}: wanted a run that ends, got code ${code}: ${err}`);
      references.set(name, (reference = { runs, ms: performance.now() - began }));
    }
    const runs = join(place, `${name}-${i}`);
    const [when, second, whenSecond, whom] = [...draws.subarray(4 * i, 4 * i + 4)] as [number, number, number, number];
    const times = [when, ...(second < 0.25 ? [whenSecond] : [])].map((share) => share * reference.ms);
    const said: string[] = [];
    let next = words;
    for (const ms of times) {
      const { signal } = await atelierKilled(next, runs, ms, whom < 0.5 ? 'process' : 'group');
      killed += signal === 'SIGKILL' ? 1 : 0;
      said.push(signal === 'SIGKILL' ? `${Math.round(ms)} ms` : `${Math.round(ms)} ms (had ended)`);
      const [id] = existsSync(runs) ? [...runsByConfig(runs).values()] : [];
      if (words[0] === 'run' && id !== undefined) next = ['resume', id];
    }
    const { code, err } = await atelier(next, runs);
    const found = code === 0 ? await faults(reference.runs, runs, timed) : [`ended with code ${code}: ${err.trim()}`];
    wrong += found.length > 0 ? 1 : 0;
    console.log(`${String(i + 1).padStart(3)}  ${name.padEnd(10)}  killed after ${said.join(', ')}: ${found.join('; ') || 'equal'}`);
    rmSync(runs, { recursive: true, force: true });
  }
} finally {
  rmSync(place, { recursive: true, force: true });
}
console.log(`${moments} moments, seed ${values.seed}: ${killed} processes killed, ${wrong} runs with a difference`);
process.exitCode = wrong === 0 ? 0 : 1;
