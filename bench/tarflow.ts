/**
 * `pnpm bench tarflow`: a sample of a TarFlow by the exact sampler, token by token, compared with the fastest PyTorch for the same loop.
 * Both sides take turns on the same machine. Before timing, both sample from the same weights and noise, and their results must agree after
 * every block.
 */
import { useEngine } from '@atelier/tensor';
import { benchArguments, runBench } from './harness/arguments.ts';
import { contest, inProcess } from './harness/contest.ts';
import { machineDescription } from './harness/machine.ts';
import { ms, report, speedRow, type ReportRow } from './harness/report.ts';
import { startTorch } from './harness/torch.ts';
import { preparePeer } from './harness/work.ts';
import { tarflowSettings, tarflowWork } from './workloads/tarflow.ts';

const BOUND = 2;

await runBench(async () => {
  const args = benchArguments(process.argv.slice(2), Object.keys(tarflowSettings), 'tarflow');
  console.log(machineDescription());
  await useEngine('ort');
  const torch = await startTorch('tarflow.py');
  const rows: ReportRow[] = [];
  try {
    for (const [name, setting] of Object.entries(tarflowSettings)) {
      if (args.only !== undefined && args.only !== name) continue;
      const { width, blocks, layers } = setting.settings;
      console.log(`\n${name}: ${blocks} blocks of ${layers} layers, width ${width}, batch ${setting.batch}`);
      const work = tarflowWork(name, setting);
      const prepared = torch && (await preparePeer(torch, name, work, args.prepare));
      const ours = inProcess('atelier', work.step);
      const [own, theirs] = await contest([ours, ...(torch ? [torch.peer.contestant(torch.name)] : [])], args.contest);
      if (theirs === undefined) console.log(`  ours: ${ms(own!.median)}`);
      else rows.push(speedRow(name, { ours: own!, theirs }, BOUND, prepared!.chosen));
    }
  } finally {
    await torch?.peer.stop();
  }
  report(rows, args.json);
});
