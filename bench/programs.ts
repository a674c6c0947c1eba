/**
 * `pnpm bench programs`: small TensorFlow.js programs on `ort`, plain and compiled, against TensorFlow.js's own engines `wasm` and `cpu`.
 * All take turns. The peer of a row is the faster of the two.
 */
import { fileURLToPath } from 'node:url';
import { useEngine } from '@atelier/tensor';
import { benchArguments, runBench } from './harness/arguments.ts';
import { contest, inProcess } from './harness/contest.ts';
import { machineDescription } from './harness/machine.ts';
import { Peer } from './harness/peer.ts';
import { ms, report, speedRow, type ReportRow } from './harness/report.ts';
import { checkAgreement } from './harness/work.ts';
import { programs, type ProgramName } from './workloads/programs.ts';

const BOUND = { eager: 1, compiled: 3 };
const script = fileURLToPath(new URL('./peers/programs.ts', import.meta.url));

/** The engines that can run the program, each in its own process. */
async function startPeers(name: ProgramName, figure: number): Promise<Peer[]> {
  const peers: Peer[] = [];
  for (const engine of ['wasm', 'cpu']) {
    const { peer } = await Peer.start(`tfjs ${engine}`, process.execPath, [...process.execArgv, script, engine]);
    try {
      const { check } = (await peer.ask('prepare', JSON.stringify(name))) as { check: number[] };
      checkAgreement(`${name}: tfjs ${engine}`, check, [figure]);
      peers.push(peer);
    } catch (error) {
      console.log(`  tfjs ${engine}: left out, ${(error as Error).message}`);
      await peer.stop();
    }
  }
  return peers;
}

await runBench(async () => {
  const names = Object.keys(programs) as ProgramName[];
  const args = benchArguments(process.argv.slice(2), names, 'programs');
  console.log(machineDescription());
  await useEngine('ort');
  const rows: ReportRow[] = [];
  for (const name of names) {
    if (args.only !== undefined && args.only !== name) continue;
    console.log(`\n${name}`);
    const work = programs[name]();
    const figure = await work.eager();
    checkAgreement(`${name}: compiled`, [await work.compiled()], [figure]);
    const peers = await startPeers(name, figure);
    try {
      const own = (['eager', 'compiled'] as const).map((how) => inProcess(how, async () => void (await work[how]())));
      const [eager, compiled, ...others] = await contest([...own, ...peers.map((peer) => peer.contestant())], args.contest);
      for (const { name: which, median } of [eager!, compiled!, ...others]) console.log(`  ${ms(median).padStart(9)}  ${which}`);
      const fastest = others.reduce((a, b) => (b.median < a.median ? b : a));
      rows.push(speedRow(`${name}, eager`, { ours: eager!, theirs: fastest }, BOUND.eager));
      rows.push(speedRow(`${name}, compiled`, { ours: compiled!, theirs: fastest }, BOUND.compiled));
    } finally {
      for (const peer of peers) await peer.stop();
    }
  }
  report(rows, args.json);
});
