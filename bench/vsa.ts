/**
 * `pnpm bench vsa`: video sparse attention at 87.5 % sparsity, compared with dense attention on the same engine: the fine stage alone, all of it, and
 * the fine stage with gradients. The ratio of the operations is 8. All take turns.
 */
import { useEngine } from '@atelier/tensor';
import { benchArguments, runBench } from './harness/arguments.ts';
import { contest, inProcess } from './harness/contest.ts';
import { machineDescription } from './harness/machine.ts';
import { ms, report, speedRow, type ReportRow } from './harness/report.ts';
import { videoWorks } from './workloads/vsa.ts';

const ROWS = {
  fine: { sparse: 'fine', dense: 'dense', bound: 7 },
  whole: { sparse: 'whole', dense: 'dense', bound: 6 },
  'fine-grad': { sparse: 'fineGradient', dense: 'denseGradient', bound: 6 },
} as const;

const rate = (flops: number, time: number): string => `${(flops / time / 1e6).toFixed(0)} GFLOP/s`;

await runBench(async () => {
  const args = benchArguments(process.argv.slice(2), Object.keys(ROWS), 'vsa');
  console.log(machineDescription());
  await useEngine('ort');
  const works = videoWorks();
  const rows: ReportRow[] = [];
  for (const [name, { sparse, dense, bound }] of Object.entries(ROWS)) {
    if (args.only !== undefined && args.only !== name) continue;
    const sides = [inProcess('sparse', works[sparse].step), inProcess('dense attention', works[dense].step)];
    const [ours, theirs] = await contest(sides, args.contest);
    const rates = [rate(works[sparse].flops, ours!.median), rate(works[dense].flops, theirs!.median)];
    console.log(`  ${name}: ${ms(ours!.median)} (${rates[0]}), dense ${ms(theirs!.median)} (${rates[1]})`);
    rows.push(speedRow(name, { ours: ours!, theirs: theirs! }, bound, `${rates[0]} against ${rates[1]}`));
  }
  report(rows, args.json);
});
