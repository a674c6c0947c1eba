/**
 * `pnpm bench vsa`: video sparse attention at 87.5 % sparsity, compared with dense attention on the same engine and with the fused dense attention of
 * PyTorch: the fine stage alone, all of it, and the fine stage with gradients. The ratio of the operations is 8. All take turns.
 */
import { useEngine } from '@atelier/tensor';
import { benchArguments, runBench } from './harness/arguments.ts';
import { contest, inProcess } from './harness/contest.ts';
import { machineDescription } from './harness/machine.ts';
import { ms, report, speedRow, type ReportRow } from './harness/report.ts';
import { startTorch } from './harness/torch.ts';
import { preparePeer } from './harness/work.ts';
import { videoWorks } from './workloads/vsa.ts';

const ROWS = {
  fine: { sparse: 'fine', dense: 'dense', bound: 7 },
  whole: { sparse: 'whole', dense: 'dense', bound: 6 },
  'fine-grad': { sparse: 'fineGradient', dense: 'denseGradient', bound: 6 },
} as const;

/** Written-out attention of PyTorch would hold several tensors of T × T, 4 GB each. Its first variant is the fused kernel. */
const FUSED = { modes: ['eager'], seconds: 1, first_variant: true } as const;

const rate = (flops: number, time: number): string => `${(flops / time / 1e6).toFixed(0)} GFLOP/s`;

await runBench(async () => {
  const args = benchArguments(process.argv.slice(2), Object.keys(ROWS), 'vsa');
  console.log(machineDescription());
  await useEngine('ort');
  const torch = await startTorch('engine.py');
  const works = videoWorks();
  const rows: ReportRow[] = [];
  try {
    for (const [name, { sparse, dense, bound }] of Object.entries(ROWS)) {
      if (args.only !== undefined && args.only !== name) continue;
      if (torch) await preparePeer(torch, name, works[dense], FUSED);
      const sides = [inProcess('sparse', works[sparse].step), inProcess('dense attention', works[dense].step)];
      const [ours, theirs, fused] = await contest([...sides, ...(torch ? [torch.peer.contestant(torch.name)] : [])], args.contest);
      const rates = [rate(works[sparse].flops, ours!.median), rate(works[dense].flops, theirs!.median)];
      console.log(`  ${name}: ${ms(ours!.median)} (${rates[0]}), dense ${ms(theirs!.median)} (${rates[1]})`);
      rows.push(speedRow(name, { ours: ours!, theirs: theirs! }, bound, `${rates[0]} against ${rates[1]}`));
      if (fused !== undefined) rows.push(speedRow(`${name}, PyTorch`, { ours: ours!, theirs: fused }, 0, 'dense, fused attention'));
    }
  } finally {
    await torch?.peer.stop();
  }
  report(rows, args.json);
});
