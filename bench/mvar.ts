/**
 * `pnpm bench mvar` compares: VAR's training step and MVAR's and VAR's sampling with PyTorch; the last step of sampling of MVAR and VAR on
 * the same engine; and the memory of MVAR and VAR in new processes that sample or train. It also measures how the time of the attention
 * grows with the number of tokens.
 */
import { execFile } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { useEngine } from '@atelier/tensor';
import { benchArguments, runBench } from './harness/arguments.ts';
import { contest, inProcess, median, type Contestant } from './harness/contest.ts';
import { machineDescription } from './harness/machine.ts';
import { ms, report, speedRow, type ReportRow } from './harness/report.ts';
import { startTorch } from './harness/torch.ts';
import { preparePeer, type Work } from './harness/work.ts';
import { attentionStep, sampleWork, settings, stepTimes, trainWork } from './workloads/mvar.ts';

/** Comparisons with PyTorch: the task and its bound. */
const PEERS: Record<string, { work: () => Work; bound: number }> = {
  'train-64': { work: () => trainWork(settings.figures('var'), 32), bound: 1 },
  'train-256': { work: () => trainWork(settings.pixels('var', 256), 8), bound: 1 },
  'sample-var': { work: () => sampleWork(settings.figures('var'), 16), bound: 1.5 },
  'sample-mvar': { work: () => sampleWork(settings.figures('mvar'), 16), bound: 1.5 },
};
/** Comparisons of MVAR with VAR: image size in pixels, number of samples, bound. */
const STEPS = { 'last-step-256': [256, 8, 1.5], 'last-step-512': [512, 2, 2.5] } as const;
/** Task, size, and wanted memory of MVAR as a share of VAR's memory. */
const MEMORY = {
  'memory-sample': ['sample', 'pixels', 0.33],
  'memory-train-256': ['train', 'pixels', 0.5],
  'memory-train-64': ['train', 'figures', 0.7],
} as const;
const ATTENTION = 'attention';

/** Times the attention alone for several numbers of tokens, and fits time ~ tokens^exponent, with windows and without. */
function fitAttention(): void {
  const sides = [16, 24, 32, 48, 64];
  for (const windowed of [true, false]) {
    const times = sides.map((side) => {
      const { step, dispose } = attentionStep(side, windowed);
      // In the first second of a process its compiler takes one of the cores.
      for (const end = performance.now() + 700; performance.now() < end;) step();
      const taken: number[] = [];
      for (let i = 0; i < 25; i++) {
        const began = performance.now();
        step();
        taken.push(performance.now() - began);
      }
      dispose();
      return median(taken);
    });
    const [x, y] = [sides.map((side) => Math.log(side * side)), times.map(Math.log)];
    const centre = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
    const [mx, my] = [centre(x), centre(y)];
    const slope = x.reduce((sum, v, i) => sum + (v - mx) * (y[i]! - my), 0) / x.reduce((sum, v) => sum + (v - mx) ** 2, 0);
    const line = sides.map((side, i) => `${side * side}: ${ms(times[i]!)}`).join(', ');
    console.log(`  ${windowed ? 'windows of 7 x 7' : 'all tokens'}: ${line}; time ~ tokens^${slope.toFixed(2)}`);
  }
}

/** Peak resident memory of a new process without its memory at the start, and the peak of its tensors by the plan of its graphs, in MiB. */
async function memoryOf(work: string, kind: string, size: string): Promise<{ resident: number; planned: number }> {
  const file = join(dirname(fileURLToPath(import.meta.url)), 'peers', 'mvar-memory.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--import',
    'tsx',
    '--expose-gc',
    '--conditions=@atelier/source',
    file,
    work,
    kind,
    size,
  ]);
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as { resident: number; planned: number };
}

async function lastStep(name: keyof typeof STEPS, options: Parameters<typeof contest>[1]): Promise<ReportRow> {
  const [pixels, B, bound] = STEPS[name];
  const contestants: Contestant[] = [];
  for (const kind of ['mvar', 'var'] as const) {
    const times = await stepTimes(settings.pixels(kind, pixels), B);
    contestants.push({ name: kind === 'mvar' ? 'MVAR' : 'VAR', measure: (steps) => Promise.resolve(times(steps)) });
  }
  const [own, theirs] = await contest(contestants, options);
  return speedRow(name, { ours: own!, theirs: theirs! }, bound, `${B} guided images at once, one engine`);
}

await runBench(async () => {
  const names = [...Object.keys(PEERS), ...Object.keys(STEPS), ATTENTION, ...Object.keys(MEMORY)];
  const args = benchArguments(process.argv.slice(2), names, 'mvar');
  const wanted = (name: string): boolean => args.only === undefined || args.only === name;
  console.log(machineDescription());
  const rows: ReportRow[] = [];
  // Memory comes first, when no other process of this bench runs.
  for (const [name, [work, size, share]] of Object.entries(MEMORY)) {
    if (!wanted(name)) continue;
    const [markov, causal] = [await memoryOf(work, 'mvar', size), await memoryOf(work, 'var', size)];
    const text = (value: number): string => `${value.toFixed(0)} MiB`;
    const notes = {
      resident: 'highest resident memory above the start of a fresh process',
      planned: 'tensors that live at one time, by the plan',
    };
    for (const what of ['resident', 'planned'] as const)
      rows.push({
        name: what === 'resident' ? name : `${name}-${what}`,
        peer: 'VAR',
        ratio: causal[what] / markov[what],
        bound: 1 / share,
        ours: text(markov[what]),
        theirs: text(causal[what]),
        note: notes[what],
      });
  }
  await useEngine('ort');
  if (wanted(ATTENTION)) fitAttention();
  for (const name of Object.keys(STEPS) as (keyof typeof STEPS)[]) if (wanted(name)) rows.push(await lastStep(name, args.contest));
  if (Object.keys(PEERS).some(wanted)) {
    const torch = await startTorch('mvar.py');
    try {
      for (const [name, { work: make, bound }] of Object.entries(PEERS)) {
        if (!wanted(name)) continue;
        console.log(`\n${name}`);
        const work = make();
        const prepared = torch && (await preparePeer(torch, name, work, args.prepare));
        const [own, theirs] = await contest(
          [inProcess(name, work.step), ...(torch ? [torch.peer.contestant(torch.name)] : [])],
          args.contest,
        );
        if (theirs === undefined) console.log(`  ${ms(own!.median)}`);
        else rows.push(speedRow(name, { ours: own!, theirs }, bound, prepared!.chosen));
      }
    } finally {
      await torch?.peer.stop();
    }
  }
  report(rows, args.json);
});
