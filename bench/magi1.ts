/**
 * `pnpm bench magi1` compares: a block-causal training step on slices with the same step under a dense mask, on one engine; and one chunk of a
 * guided stream with PyTorch. It also streams 256 chunks, and compares time and memory of late chunks with those of early ones.
 */
import { useEngine } from '@atelier/tensor';
import { benchArguments, runBench } from './harness/arguments.ts';
import { contest, inProcess, median } from './harness/contest.ts';
import { machineDescription } from './harness/machine.ts';
import { ms, report, speedRow, type ReportRow } from './harness/report.ts';
import { startTorch } from './harness/torch.ts';
import { preparePeer } from './harness/work.ts';
import { chunkWork, longStream, trainingStep } from './workloads/magi1.ts';

/** Training steps: chunks of the clip, frames of a chunk, how many chunks a chunk sees (0: all before it), wanted ratio. */
const TRAINING = {
  'train-8': [8, 2, 0, 1.5],
  'train-24': [24, 2, 0, 2.5],
  'train-24-range-5': [24, 2, 5, 2.5],
  'train-8-long': [8, 8, 0, 1.5],
  'train-24-long': [24, 4, 0, 2.5],
  'train-24-long-range-5': [24, 4, 5, 2.5],
} as const;
const [CHUNK, STREAM] = ['chunk', 'stream'];
const STREAMED = 256;

function streamRows(): ReportRow[] {
  const { times, peaks, graphs, firstAfter } = longStream(STREAMED);
  const [early, late] = [median(times.slice(16, 72)), median(times.slice(200, 256))];
  const [before, after] = [peaks[15]!, peaks.at(-1)!];
  console.log(`  the first chunk after ${firstAfter} forwards; ${graphs[3]} graphs after the first window, ${graphs.at(-1)} at the end`);
  const mib = (value: number): string => `${value.toFixed(1)} MiB`;
  return [
    {
      name: 'stream-time',
      peer: 'chunks 16-72',
      ratio: early / late,
      bound: 0.95,
      ours: ms(late),
      theirs: ms(early),
      note: 'median time of chunks 200-256',
    },
    {
      name: 'stream-memory',
      peer: 'chunk 16',
      ratio: before / after,
      bound: 0.99,
      ours: mib(after),
      theirs: mib(before),
      note: 'peak resident memory',
    },
  ];
}

await runBench(async () => {
  const args = benchArguments(process.argv.slice(2), [...Object.keys(TRAINING), CHUNK!, STREAM!], 'magi1');
  const wanted = (name: string): boolean => args.only === undefined || args.only === name;
  console.log(machineDescription());
  await useEngine('ort');
  const rows: ReportRow[] = [];
  // The stream comes first, when nothing else has taken memory.
  if (wanted(STREAM!)) rows.push(...streamRows());
  for (const [name, [chunks, perChunk, range, bound]] of Object.entries(TRAINING)) {
    if (!wanted(name)) continue;
    const clip = { chunks, perChunk, range };
    const sides = [inProcess('slices', trainingStep(clip, 'slices')), inProcess('dense mask', trainingStep(clip, 'dense'))];
    const [own, theirs] = await contest(sides, args.contest);
    rows.push(
      speedRow(
        name,
        { ours: own!, theirs: theirs! },
        bound,
        `${chunks} chunks of ${64 * perChunk} tokens, ${range === 0 ? 'full history' : `range ${range}`}`,
      ),
    );
  }
  if (wanted(CHUNK!)) {
    const torch = await startTorch('magi1.py');
    try {
      const work = chunkWork();
      const prepared = torch && (await preparePeer(torch, CHUNK!, work, args.prepare));
      const [own, theirs] = await contest(
        [inProcess(CHUNK!, work.step), ...(torch ? [torch.peer.contestant(torch.name)] : [])],
        args.contest,
      );
      if (theirs === undefined) console.log(`  ${ms(own!.median)}`);
      else rows.push(speedRow(CHUNK!, { ours: own!, theirs }, 1.2, prepared!.chosen));
    } finally {
      await torch?.peer.stop();
    }
  }
  report(rows, args.json);
});
