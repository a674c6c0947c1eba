import { availableParallelism } from 'node:os';
import { shown } from '@atelier/tensor';
import type { CAC } from 'cac';
import { openBucket } from '../queue/bucket.ts';
import { parseRedis } from '../queue/connection.ts';
import { submitSweep } from '../queue/submit.ts';
import { runWorker } from '../queue/worker.ts';
import { StopError } from '../runner/errors.ts';
import type { Experiment } from '../runner/experiment.ts';
import type { Screen } from '../runner/progress.ts';
import { writeFile } from '../runner/write-file.ts';
import { comparisonChart, comparisonLines, compareRuns, type Comparison } from './compare-runs.ts';
import { mergeRunFolders } from './merge.ts';
import { thisProgram } from './run-process.ts';
import { runSweep } from './run-sweep.ts';
import { mergeSamples } from './sample-shards.ts';
import { parseShard } from './shard.ts';

/** What the commands need of the command line. */
export interface Desk {
  readonly experiments: readonly Experiment[];
  readonly signal: AbortSignal;
  readonly screen: Screen;
  readonly say: (line: string) => void;
  /** The folder of the runs if none is named. */
  readonly defaultRuns: () => string;
  /** The words of a command that follow the experiment, apart: the preset (`smoke` unless named), and `key=value`. */
  readonly presetAndKeys: (words: readonly string[]) => { preset: string; keys: string[] };
}

type Options = { runs?: string; engine?: string; device?: string; threads?: number };
type ChartOptions = { metric?: string | string[]; against?: string; out?: string };

type SweepOptions = Options & { list?: boolean; repeat?: boolean; processes?: number; shard?: string; queue?: string; store?: string };
type WorkerOptions = Options & { queue?: string; store?: string; concurrency?: number; lockSeconds?: number };

/** Adds the commands that handle many runs: `sweep`, `worker`, `compare`, `merge`. */
export function sweepCommands(cli: CAC, desk: Desk): void {
  const { say } = desk;
  const runsOf = ({ runs }: Options): string => runs ?? desk.defaultRuns();
  cli
    .command('sweep <experiment> [...words]', 'Run every combination of key=a,b and seed=0..4, several at once')
    .option('--list', 'The first values of all keys together, then the second ones, in place of every combination')
    .option('--repeat', 'Run again also what is finished')
    .option('--processes <n>', 'Processes side by side (as many as there are cores)')
    .option('--shard <i/n>', 'Only part i of n, for several machines; `atelier merge` puts them together')
    .option('--queue <url>', 'Leave the runs to the workers of this queue: redis://host:6379')
    .option('--store <url>', 'Where these workers copy their runs to, if they share no folder: s3://bucket/prefix')
    .option('--engine <name>', 'ort, cpu, wasm or tensorflow (ATELIER_ENGINE; ort)')
    .option('--device <name>', 'Execution provider of ort: cpu, webgpu, cuda')
    .option('--threads <n>', 'Threads of each process (the cores shared evenly)')
    .example('atelier sweep meanflow smoke images.training.batch=16,32 seed=0..4')
    .action(async (experiment: string, words: string[], options: SweepOptions) => {
      const { preset, keys } = desk.presetAndKeys(words);
      const { engine: name, device, threads, processes, shard, queue } = options;
      if (queue === undefined && options.store !== undefined) throw new StopError('sweep: --store: wanted --queue beside it, got none');
      const stage = { signal: desk.signal, screen: desk.screen, program: thisProgram() };
      const request = {
        experiment,
        preset,
        words: keys,
        runs: runsOf(options),
        engine: { name, device, threads },
        way: options.list ? ('list' as const) : ('grid' as const),
        repeat: options.repeat === true,
        processes,
        shard: shard === undefined ? undefined : parseShard(shard),
      };
      if (queue !== undefined) refuseBesideQueue(options);
      const jobs =
        queue === undefined
          ? await runSweep(desk.experiments, request, stage)
          : await submitSweep(desk.experiments, { ...request, ...(await placesOf(queue, options.store)) }, stage);
      const chosen = new Set(jobs.map(({ configHash }) => configHash));
      for (const line of comparisonLines(compareRuns(request.runs, experiment, { preset, chosen }))) say(line);
    });
  cli
    .command('worker', 'Carry out the runs of a queue until it is stopped')
    .option('--queue <url>', 'redis://host:6379 (ATELIER_QUEUE); the password may be in ATELIER_REDIS_PASSWORD')
    .option('--store <url>', 'Where run folders are copied to, if the machines share no folder: s3://bucket/prefix (ATELIER_STORE)')
    .option('--concurrency <n>', 'Runs side by side (1)')
    .option('--lock-seconds <n>', 'Seconds after which a worker that is silent has lost its jobs (30)')
    .option('--engine <name>', 'ort, cpu, wasm or tensorflow (ATELIER_ENGINE; ort)')
    .option('--device <name>', 'Execution provider of ort: cpu, webgpu, cuda')
    .option('--threads <n>', 'Threads of each run (the cores shared evenly)')
    .example('atelier worker --queue redis://host:6379 --concurrency 2')
    .action(async (options: WorkerOptions) => {
      const { queue = process.env['ATELIER_QUEUE'], engine: name, device, concurrency = 1, lockSeconds = 30 } = options;
      if (queue === undefined) throw new StopError('worker: wanted --queue redis://host:6379, got none');
      const threads = options.threads ?? Math.max(1, Math.floor(availableParallelism() / concurrency));
      const places = await placesOf(queue, options.store ?? process.env['ATELIER_STORE']);
      const request = { ...places, runs: runsOf(options), engine: { name, device }, concurrency, threads, lockSeconds };
      await runWorker(desk.experiments, request, { signal: desk.signal, say, program: thisProgram() });
    });
  cli
    .command('compare <experiment> [preset]', 'A table of all finished runs: mean and spread of each metric over the seeds')
    .option('--metric <name>', 'A claim, or <series>.<metric>; may be given several times (all claims)')
    .option('--against <key>', 'Draw the metric against this key')
    .option('--out <file>', 'PNG file of the drawing (<metric>.png)')
    .action(async (experiment: string, preset: string | undefined, options: Options & ChartOptions) => {
      const comparison = compareRuns(runsOf(options), experiment, { ...(preset !== undefined && { preset }) });
      const metrics = [options.metric ?? []].flat().map(String);
      for (const line of comparisonLines(comparison, metrics)) say(line);
      if (options.against !== undefined) say(await drawComparison(comparison, metrics, options.against, options.out));
    });
  cli
    .command('merge <...parts>', 'Put the shards of a sweep (folders of runs) or of samples (safetensors files) together')
    .option('--out <file>', 'File of the samples (samples.safetensors)')
    .action(async (parts: string[], options: Options & { out?: string }) => {
      const files = parts.filter((part) => part.endsWith('.safetensors'));
      if (files.length > 0 && files.length < parts.length)
        throw new StopError('merge: wanted folders of runs or files of samples, got both');
      const lines =
        files.length > 0
          ? await mergeSamples(files, options.out ?? 'samples.safetensors')
          : await mergeRunFolders(desk.experiments, parts, runsOf(options));
      for (const line of lines) say(line);
    });
}

const placesOf = async (queue: string, store: string | undefined) => ({
  redis: parseRedis(String(queue)),
  store: store === undefined ? undefined : await openBucket(String(store)),
});

/** With a queue, these are for the workers to choose. */
function refuseBesideQueue(options: SweepOptions): void {
  for (const name of ['repeat', 'processes', 'engine', 'device', 'threads'] as const)
    if (options[name] !== undefined) throw new StopError(`sweep: --queue: wanted no --${name} beside it, got --${name}`);
}

async function drawComparison(comparison: Comparison, metrics: readonly string[], key: string, out: string | undefined): Promise<string> {
  const [metric = comparison.metrics[0]!] = metrics;
  const path = out ?? `${metric.replaceAll(/[^\w.-]/g, '-')}.png`;
  if (!path.endsWith('.png')) throw new StopError(`compare: out: wanted a file that ends with .png, got ${shown(path)}`);
  await writeFile(path, comparisonChart(comparison, metric, key).png);
  return `${metric} against ${key}: ${path}`;
}
