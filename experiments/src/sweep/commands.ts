import type { CAC } from 'cac';
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

/** Adds the commands that handle many runs: `sweep`, `compare`, `merge`. */
export function sweepCommands(cli: CAC, desk: Desk): void {
  const { say } = desk;
  const runsOf = ({ runs }: Options): string => runs ?? desk.defaultRuns();
  cli
    .command('sweep <experiment> [...words]', 'Run every combination of key=a,b and seed=0..4, several at once')
    .option('--list', 'The first values of all keys together, then the second ones, in place of every combination')
    .option('--repeat', 'Run again also what is finished')
    .option('--processes <n>', 'Processes side by side (as many as there are cores)')
    .option('--shard <i/n>', 'Only part i of n, for several machines; `atelier merge` puts them together')
    .option('--engine <name>', 'ort, cpu, wasm or tensorflow (ATELIER_ENGINE; ort)')
    .option('--device <name>', 'Execution provider of ort: cpu, webgpu, cuda')
    .option('--threads <n>', 'Threads of each process (the cores shared evenly)')
    .example('atelier sweep meanflow smoke images.training.batch=16,32 seed=0..4')
    .action(
      async (
        experiment: string,
        words: string[],
        options: Options & { list?: boolean; repeat?: boolean; processes?: number; shard?: string },
      ) => {
        const { preset, keys } = desk.presetAndKeys(words);
        const { engine: name, device, threads, processes, shard } = options;
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
        const jobs = await runSweep(desk.experiments, request, stage);
        const chosen = new Set(jobs.map(({ configHash }) => configHash));
        for (const line of comparisonLines(compareRuns(request.runs, experiment, { preset, chosen }))) say(line);
      },
    );
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

async function drawComparison(comparison: Comparison, metrics: readonly string[], key: string, out: string | undefined): Promise<string> {
  const [metric = comparison.metrics[0]!] = metrics;
  const path = out ?? `${metric.replaceAll(/[^\w.-]/g, '-')}.png`;
  if (!path.endsWith('.png')) throw new StopError(`compare: out: wanted a file that ends with .png, got '${path}'`);
  await writeFile(path, comparisonChart(comparison, metric, key).png);
  return `${metric} against ${key}: ${path}`;
}
