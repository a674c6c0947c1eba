/**
 * `pnpm bench meanflow`: one MeanFlow training step (draw a batch, loss with JVP, gradients, AdamW, average of the weights), compared with
 * the fastest PyTorch for the same step. Both sides take turns on the same machine. Before timing, both train from the same weights on the
 * same batch, and their squared errors must agree.
 */
import { useEngine } from '@atelier/tensor';
import { benchArguments, runBench } from './harness/arguments.ts';
import { contest, inProcess } from './harness/contest.ts';
import { machineDescription } from './harness/machine.ts';
import { ms, report, speedRow, type ReportRow } from './harness/report.ts';
import { startTorch } from './harness/torch.ts';
import { preparePeer } from './harness/work.ts';
import { meanFlowWork } from './workloads/meanflow.ts';

const ROWS = {
  'dit-step': {
    network: 'dit',
    bound: 1.3,
    about: 'DiT of 8x8x1 images, patch 2, D 64, L 3, 4 heads, batch 64, half of the rows with r < t',
  },
  'mlp-step': { network: 'mlp', bound: 2, about: 'MLP 4-128-128-128-2, batch 512, half of the rows with r < t' },
} as const;

await runBench(async () => {
  const args = benchArguments(process.argv.slice(2), Object.keys(ROWS), 'meanflow');
  console.log(machineDescription());
  await useEngine('ort');
  const torch = await startTorch('meanflow.py');
  const rows: ReportRow[] = [];
  try {
    for (const [name, { network, bound, about }] of Object.entries(ROWS)) {
      if (args.only !== undefined && args.only !== name) continue;
      console.log(`\n${name}: ${about}`);
      const work = meanFlowWork(network);
      const prepared = torch && (await preparePeer(torch, name, work, args.prepare));
      const ours = inProcess('atelier', work.step);
      const [own, theirs] = await contest([ours, ...(torch ? [torch.peer.contestant(torch.name)] : [])], args.contest);
      if (theirs === undefined) console.log(`  ours: ${ms(own!.median)}`);
      else rows.push(speedRow(name, { ours: own!, theirs }, bound, prepared!.chosen));
    }
  } finally {
    await torch?.peer.stop();
  }
  report(rows, args.json);
});
