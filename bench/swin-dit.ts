/**
 * `pnpm bench swin-dit`: forward and backward pass of one PSWA block, compared with the DiT block of the same width on the same engine, and
 * with the fastest PyTorch for the same PSWA block. All take turns. It also prints the multiply-accumulates of both blocks.
 */
import { useEngine } from '@atelier/tensor';
import { benchArguments, runBench } from './harness/arguments.ts';
import { contest, inProcess } from './harness/contest.ts';
import { machineDescription } from './harness/machine.ts';
import { ms, report, speedRow, type ReportRow } from './harness/report.ts';
import { startTorch } from './harness/torch.ts';
import { preparePeer } from './harness/work.ts';
import { BLOCK, blockWork } from './workloads/swin-dit.ts';

const ROWS = {
  'block-1024': { images: 4, side: 32, bound: 1.5 },
  'block-4096': { images: 1, side: 64, bound: 3 },
} as const;

const millions = (macs: number): string => `${(macs / 1e6).toFixed(0)} M`;

await runBench(async () => {
  const args = benchArguments(process.argv.slice(2), Object.keys(ROWS), 'swin-dit');
  console.log(machineDescription());
  await useEngine('ort');
  const torch = await startTorch('swin_dit.py');
  const rows: ReportRow[] = [];
  try {
    for (const [name, { images, side, bound }] of Object.entries(ROWS)) {
      if (args.only !== undefined && args.only !== name) continue;
      const { width, heads, windowHeads, window } = BLOCK;
      console.log(
        `\n${name}: ${images} x ${side * side} tokens, width ${width}, ${windowHeads} of ${heads} heads in windows of ${window} x ${window}`,
      );
      const [pswa, dit] = [blockWork('pswa', images, side), blockWork('dit', images, side)];
      for (const [of, work] of Object.entries({ pswa, dit }))
        if (work.counted() !== work.macs)
          throw new Error(`${name}: ${of}: wanted ${work.macs} multiply-accumulates, got ${work.counted()}`);
      const prepared = torch && (await preparePeer(torch, name, pswa, args.prepare));
      const sides = [inProcess('PSWA block', pswa.step), inProcess('DiT block', dit.step)];
      const [own, global, theirs] = await contest([...sides, ...(torch ? [torch.peer.contestant(torch.name)] : [])], args.contest);
      const macs = `forward MACs per image: ${millions(pswa.macs)}, DiT block ${millions(dit.macs)} (${(dit.macs / pswa.macs).toFixed(2)} times as many)`;
      console.log(`  ${macs}; time of forward and backward: ${ms(own!.median)}, DiT block ${ms(global!.median)}`);
      rows.push(speedRow(name, { ours: own!, theirs: global! }, bound, macs));
      if (theirs !== undefined) rows.push(speedRow(`${name}, PyTorch`, { ours: own!, theirs }, 0, prepared!.chosen));
    }
  } finally {
    await torch?.peer.stop();
  }
  report(rows, args.json);
});
