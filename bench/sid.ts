/**
 * `pnpm bench sid`: one iteration of Score identity Distillation (both updates), and one training step of EDM's U-Net, compared with the
 * fastest PyTorch for the same. Both sides take turns on the same machine. Before timing, both run from the same weights on the same draws,
 * and their results must agree.
 */
import { useEngine } from '@atelier/tensor';
import { benchArguments, runBench } from './harness/arguments.ts';
import { contest, inProcess } from './harness/contest.ts';
import { machineDescription } from './harness/machine.ts';
import { ms, report, speedRow, type ReportRow } from './harness/report.ts';
import { startTorch } from './harness/torch.ts';
import { preparePeer } from './harness/work.ts';
import { sidWork, unetWork } from './workloads/sid.ts';

const ROWS = {
  iteration: { work: sidWork, bound: 1.5, about: 'SiD in one step, residual MLP 3 x 128 on points, batch 256' },
  unet: { work: unetWork, bound: 0.8, about: 'EDM training step, U-Net of 32 channels, 16x16x3, batch 32' },
} as const;

await runBench(async () => {
  const args = benchArguments(process.argv.slice(2), Object.keys(ROWS), 'sid');
  console.log(machineDescription());
  await useEngine('ort');
  const torch = await startTorch('sid.py');
  const rows: ReportRow[] = [];
  try {
    for (const [name, { work: make, bound, about }] of Object.entries(ROWS)) {
      if (args.only !== undefined && args.only !== name) continue;
      console.log(`\n${name}: ${about}`);
      const work = make();
      const prepared = torch && (await preparePeer(torch, name, work, args.prepare));
      const [own, theirs] = await contest(
        [inProcess('atelier', work.step), ...(torch ? [torch.peer.contestant(torch.name)] : [])],
        args.contest,
      );
      if (theirs === undefined) console.log(`  ours: ${ms(own!.median)}`);
      else rows.push(speedRow(name, { ours: own!, theirs }, bound, prepared!.chosen));
    }
  } finally {
    await torch?.peer.stop();
  }
  report(rows, args.json);
});
