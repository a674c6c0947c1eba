import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { configKeys, plainText, unknown, useEngine } from '@atelier/tensor';
import { cac, type CAC, type Command } from 'cac';
import { boundText, verdictSign } from './claims.ts';
import { numberText } from './number-text.ts';
import { resolveConfig } from './config.ts';
import { examine } from './doctor.ts';
import { openRun, type DrawRequest, type OpenedRun } from './draw.ts';
import { Interrupted, sentence, StopError } from './errors.ts';
import type { Experiment } from './experiment.ts';
import { exportRun } from './export-run.ts';
import { fidRun, type FidRequest } from './fid-run.ts';
import { committed, mergeRuns, reportRuns } from './ledger-files.ts';
import { planLedger, planLines, runPlan } from './ledger-run.ts';
import { makeProgress, type Screen } from './progress.ts';
import { writeReport } from './report-html.ts';
import { readClaims, type Audience } from './run-context.ts';
import { RunFolder } from './run-folder.ts';
import { listRuns, removeRuns, type ListedRun } from './run-list.ts';
import { findExperiment, resumeRun, startRun } from './run.ts';
import { sampleRun } from './sample-run.ts';
import { sweepCommands } from '../sweep/commands.ts';
import { sampleShard } from '../sweep/sample-shards.ts';
import { parseShard } from '../sweep/shard.ts';
import { runTour } from './tour.ts';
import { defaultRuns, typedCommand } from './typed-command.ts';
import { wrap } from './wrap.ts';

/** The output streams of the command line, and the signal of Ctrl-C. */
export interface Terminal {
  readonly out: Screen;
  readonly err: Screen;
  readonly signal: AbortSignal;
}

type DrawOptions = RunOptions & { model?: string; n?: number; steps?: number; class?: string | number; seed?: number; out?: string };
type RunOptions = { runs?: string; engine?: string; device?: string; threads?: number };

/**
 * The command line: `list`, `run`, `resume`, `runs`, `sample`, `export`, `fid`, `sweep`, `worker`, `compare`, `merge`, `tour`, `report`, `ledger`, `doctor`.
 *
 * @param argv the words after `atelier`
 * @returns the exit code: 0, 1 after one sentence on stderr, or 130 after Ctrl-C. With `ATELIER_DEBUG` set, errors are printed whole.
 */
export async function main(argv: readonly string[], experiments: readonly Experiment[], terminal: Terminal): Promise<number> {
  const { out, err, signal } = terminal;
  // Names, labels and texts of runs come from outside: no control character of theirs may reach the terminal.
  const say = (line = ''): void => void out.write(`${plainText(line)}\n`);
  const audience: Audience = { signal, progress: makeProgress(out), note: say };
  const runsOf = (options: RunOptions): string => options.runs ?? defaultRuns();
  const warn = (text: string): void => void err.write(`${plainText(text)}\n`);
  /** Lists are wrapped also where they are no longer read on a terminal. */
  const columns = out.columns ?? 100;
  let code = 0;

  const cli = cac('atelier');
  cli.option('--runs <dir>', 'Folder of the run folders (ATELIER_RUNS; runs/ of the workspace)');
  cli.command('list [experiment]', 'All experiments, or the keys and claims of one').action((name: string | undefined) => {
    const lines = name === undefined ? listAll(experiments) : describe(findExperiment(experiments, name));
    for (const { text, indent } of lines) for (const line of wrap(text, columns, indent)) say(line);
  });
  cli
    .command('run <experiment> [...words]', 'Run a preset (smoke unless told), key=value laid over it')
    .option('--engine <name>', 'ort, cpu, wasm or tensorflow (ATELIER_ENGINE; ort)')
    .option('--device <name>', 'Execution provider of ort: cpu, webgpu, cuda')
    .option('--threads <n>', 'Threads of ort')
    .example('atelier run meanflow full seed=1')
    .action(async (experiment: string, words: string[], options: RunOptions) => {
      const { preset, keys } = presetAndKeys(words);
      const { engine: name, device, threads } = options;
      const request = { experiment, preset, words: keys, runs: runsOf(options), engine: { name, device, threads } };
      for (const line of closing(await startRun(experiments, request, audience), out.columns)) say(line);
    });
  cli.command('resume <run>', 'Go on with a run that was killed, stopped or failed').action(async (run: string, options: RunOptions) => {
    for (const line of closing(await resumeRun(experiments, runsOf(options), run, audience), out.columns)) say(line);
  });
  const drawOptions = (command: Command): Command =>
    command
      .option('--model <name>', 'One of the networks of the run (the first; a wrong name lists them)')
      .option('--n <count>', 'Number of samples (16)')
      .option('--steps <count>', 'Steps of the sampler (those of the run)')
      .option('--class <names>', 'Classes by name or number, joined by commas (all in turn)')
      .option('--seed <number>', 'Seed of the random numbers (0)')
      .option('--engine <name>', 'ort, cpu, wasm or tensorflow (ATELIER_ENGINE; ort)');
  const opened = async (run: string, options: DrawOptions): Promise<{ run: OpenedRun; request: DrawRequest }> => {
    await useEngine(options.engine);
    const { model, n = 16, steps, seed = 0 } = options;
    const classes = options.class === undefined ? undefined : String(options.class);
    return { run: await openRun(experiments, runsOf(options), run, model), request: { n, steps, classes, seed } };
  };
  drawOptions(cli.command('sample <run>', 'Draw samples from a network of a finished run'))
    .option('--out <file>', 'PNG file (drawn/<model>.png in the folder of the run); safetensors for a shard')
    .option('--shard <i/n>', 'Only part i of n, for several machines; `atelier merge` puts them together')
    .action(async (name: string, { shard, ...options }: DrawOptions & { shard?: string }) => {
      const part = shard === undefined ? undefined : parseShard(shard);
      const { run, request } = await opened(name, options);
      say(part === undefined ? await sampleRun(run, request, options.out) : await sampleShard(run, request, part, options.out));
    });
  drawOptions(cli.command('export <run>', 'Write the sampler of a finished run as an ONNX file with a model card'))
    .option('--out <file>', 'ONNX file (export/<model>.onnx in the folder of the run)')
    .action(async (name: string, options: DrawOptions) => {
      const { run, request } = await opened(name, options);
      for (const path of await exportRun(run, request, options.out)) say(path);
    });
  drawOptions(cli.command('fid <run>', 'Fréchet distance of samples of a run, in the features of an ONNX file'))
    .option('--features <file>', 'ONNX file that makes features of images, such as InceptionV3')
    .option('--range <low..high>', 'Values that it wants: 0..1, -1..1 or 0..255 (0..1; uint8 inputs have 0..255)')
    .option('--reference <file>', '.npz file with mu and sigma of true images')
    .option('--save <file>', '.npz file for mu and sigma of the samples')
    .action(async (name: string, options: DrawOptions & Partial<FidRequest>) => {
      const { features, range, reference, save } = options;
      if (features === undefined) throw new StopError('fid: wanted --features <file.onnx>, got none');
      const { run, request } = await opened(name, { ...options, n: options.n ?? 1000 });
      for (const line of await fidRun(run, { ...request, features, range, reference, save }, audience.progress)) say(line);
    });
  cli
    .command('runs [action]', 'All runs with their status; `runs clean` removes the failed and the empty ones')
    .action((action: string | undefined, options: RunOptions) => {
      const runs = runsOf(options);
      if (action !== undefined && action !== 'clean') throw new StopError(unknown('action of runs', action, ['clean']));
      if (options.runs !== undefined && !existsSync(runs)) throw new StopError(`${runs}: wanted a folder of runs, got none`);
      const found = action === 'clean' ? removeRuns(runs) : listRuns(runs);
      for (const line of showRuns(found, action === 'clean' ? 'removed' : 'runs', runs, columns)) say(line);
    });
  cli
    .command('report [run]', 'The ledger and a page over all runs, or the report of one run')
    .option('--out <dir>', 'Folder of index.html, results.md and results.html (that of the runs)')
    .action(async (run: string | undefined, options: RunOptions & { out?: string }) => {
      const runs = runsOf(options);
      if (run !== undefined) {
        const folder = RunFolder.open(runs, run);
        say(`report: ${await writeReport(findExperiment(experiments, folder.record.experiment), folder.path)}`);
      } else for (const line of await reportRuns(experiments, runs, options.out ?? runs, warn)) say(line);
    });
  cli
    .command(
      'ledger [action]',
      'Run what the ledger lacks of a preset; for maintainers: `ledger merge` adds the runs to the committed ledger',
    )
    .option('--preset <name>', 'The preset that every paper is to have run (full)')
    .option('--plan', 'Say what would be run, and run nothing')
    .option('--docs <dir>', 'Folder of the committed ledger (docs/ of the workspace)')
    .option('--engine <name>', 'ort, cpu, wasm or tensorflow (ATELIER_ENGINE; ort)')
    .option('--threads <n>', 'Threads of ort')
    .action(async (action: string | undefined, options: RunOptions & { docs?: string; preset?: string; plan?: boolean }) => {
      const [runs, docs] = [runsOf(options), options.docs ?? committed];
      if (action !== undefined && action !== 'merge') throw new StopError(unknown('action of ledger', action, ['merge']));
      if (action === 'merge') {
        for (const line of await mergeRuns(experiments, runs, docs, warn)) say(line);
        return;
      }
      const plan = planLedger(experiments, runs, String(options.preset ?? 'full'), join(docs, 'results.json'));
      for (const line of planLines(plan)) say(line);
      if (options.plan) return;
      await runPlan(experiments, plan, { runs, engine: { name: options.engine, threads: options.threads } }, audience);
      for (const line of await reportRuns(experiments, runs, runs, warn)) say(line);
    });
  cli
    .command('tour', 'A short preset of every paper, and one page of what they show')
    .option('--engine <name>', 'ort, cpu, wasm or tensorflow (ATELIER_ENGINE; ort)')
    .option('--threads <n>', 'Threads of ort')
    .action(async (options: RunOptions) => {
      const { engine: name, threads } = options;
      const request = { runs: runsOf(options), engine: { name, threads } };
      for (const line of await runTour(experiments, request, { signal, screen: out, note: say })) say(line);
    });
  sweepCommands(cli, { experiments, signal, screen: out, say, defaultRuns, presetAndKeys });
  cli
    .command('doctor', 'What this machine has of what runs need')
    .option('--queue <url>', 'Look also for this queue: redis://host:6379')
    .action(async (options: RunOptions & { queue?: string }) => {
      const findings = await examine(runsOf(options), options.queue);
      for (const { subject, state, words } of findings)
        say(`${{ good: 'ok    ', absent: 'absent', bad: 'BAD   ' }[state]}  ${subject.padEnd(18)} ${words}`);
      if (findings.some(({ state }) => state === 'bad')) code = 1;
    });
  cli.help();

  try {
    // The parser takes each letter after one dash for an option, and needs minutes for thousands.
    const flags = argv.find((word) => /^-[^-]/.test(word) && word.length > MOST_FLAGS);
    if (flags !== undefined) throw new StopError(unknown('option', flags, ['--runs', '--help']));
    cli.parse(['node', 'atelier', ...argv], { run: false });
    checkOptions(cli, argv);
    if (cli.options['help']) return 0;
    if (cli.matchedCommand === undefined) {
      const [word] = cli.args;
      if (word === undefined) return (cli.outputHelp(), 0);
      throw new StopError(
        unknown(
          'command',
          word,
          cli.commands.map((command) => command.name),
        ),
      );
    }
    await cli.runMatchedCommand();
    return code;
  } catch (error) {
    if (process.env['ATELIER_DEBUG']) err.write(`${error instanceof Error ? error.stack : String(error)}\n`);
    else warn(commandLineSentence(error, cli, argv, experiments));
    return error instanceof Interrupted ? 130 : 1;
  }
}

/** The words after an experiment: a preset, `smoke` unless the first one names it, and `key=value`. */
function presetAndKeys(words: readonly string[]): { preset: string; keys: string[] } {
  const [first] = words;
  return first === undefined || first.includes('=') ? { preset: 'smoke', keys: [...words] } : { preset: first, keys: words.slice(1) };
}

/** Letters after one dash at most. */
const MOST_FLAGS = 100;

/** Options that may be given several times. */
const REPEATED: readonly string[] = ['metric'];

/**
 * The parser makes a list of an option that is given twice, and a number of a text such as `--runs 007`; and it passes over options that are called like a property of every object.
 * @throws StopError for the first that is wrong
 */
function checkOptions(cli: CAC, argv: readonly string[]): void {
  const known = [...(cli.matchedCommand?.options ?? []), ...cli.globalCommand.options];
  const named = argv.flatMap((word) => /^--([^=.]+)/.exec(word)?.[1] ?? []);
  const stranger = named.find((name) => name in Object.prototype);
  if (stranger !== undefined)
    throw new StopError(
      unknown(
        'option',
        `--${stranger}`,
        known.map(({ name }) => `--${name}`),
      ),
    );
  for (const { name, rawName } of known) {
    const value: unknown = cli.options[name];
    if (Array.isArray(value) && !REPEATED.includes(name)) throw new StopError(`--${name}: wanted one value, got ${value.length}`);
    if (typeof value !== 'number' || /<(count|number|n)>/.test(rawName)) continue;
    const at = argv.findIndex((word) => word === `--${name}` || word.startsWith(`--${name}=`));
    cli.options[name] = argv[at] === `--${name}` ? argv[at + 1] : argv[at]?.slice(`--${name}=`.length);
  }
}

/** Adds the nearest option to the errors of the parser, or says that a key of the experiment has no dashes. */
function commandLineSentence(error: unknown, cli: CAC, argv: readonly string[], experiments: readonly Experiment[]): string {
  const words = sentence(error);
  const option = /^Unknown option `(--?[\w.-]+)`/.exec(words)?.[1];
  if (option === undefined) return words;
  const experiment = experiments.find(({ name }) => name === cli.args[0]);
  const keys = experiment === undefined ? [] : [...configKeys(experiment.schema).keys()];
  for (const [at, word] of argv.entries()) {
    const [, key, value = argv[at + 1]] = /^--([\w.-]+)(?:=(.*))?$/.exec(word) ?? [];
    if (key !== undefined && keys.includes(key))
      return `'--${key}' is no option but a key of ${experiment!.name}: write ${key}=${value ?? '…'}`;
  }
  const known = [...(cli.matchedCommand?.options ?? []), ...cli.globalCommand.options].map(({ name }) => `--${name}`);
  return unknown('option', option, known);
}

/** A line, and how far its later parts are indented if it is broken. */
type Line = { readonly text: string; readonly indent: number };

function listAll(experiments: readonly Experiment[]): Line[] {
  const indent = 3 + Math.max(...experiments.map(({ name }) => name.length));
  return experiments.flatMap(({ name, title, paper, presets, claims }) => [
    { text: `${name.padEnd(indent)}${title} (arXiv ${paper.arxiv})`, indent },
    { text: `${''.padEnd(indent)}presets ${Object.keys(presets).join(', ')}; ${claims.length} claims`, indent },
  ]);
}

/** Every key with its values and the presets that have them, and the claims. */
function describe(experiment: Experiment): Line[] {
  const presets = Object.keys(experiment.presets);
  const configs = presets.map((preset) => resolveConfig(experiment, preset, []) as unknown as Record<string, unknown>);
  const at = (config: unknown, path: string): unknown =>
    path.split('.').reduce<unknown>((part, key) => (part as Record<string, unknown> | undefined)?.[key], config);
  const keys = [...configKeys(experiment.schema).keys()];
  const leaves = keys.filter((key) => !keys.some((other) => other.startsWith(`${key}.`)));
  const indent = 2 + Math.max(...leaves.map((key) => key.length));
  const valuesOf = (key: string): string => {
    const users = new Map<string, string[]>();
    configs.forEach((config, i) => {
      const value = JSON.stringify(at(config, key)) ?? '-';
      users.set(value, [...(users.get(value) ?? []), presets[i]!]);
    });
    return users.size === 1 ? [...users.keys()][0]! : [...users].map(([value, by]) => `${value} (${by.join(', ')})`).join('; ');
  };
  const plain = (text: string): Line => ({ text, indent: 2 });
  return [
    plain(`${experiment.title}: ${experiment.paper.title} (arXiv ${experiment.paper.arxiv})`),
    plain(`presets: ${presets.join(', ')}`),
    plain(''),
    ...leaves.map((key) => ({ text: `${key.padEnd(indent)}${valuesOf(key)}`, indent })),
    plain(''),
    ...experiment.claims.map(({ id, claim, bound, presets: by }) =>
      plain(`${id}: ${claim} [${boundText(bound)}${by.length > 0 ? `; measured by ${by.join(', ')}` : ''}]`),
    ),
  ];
}

/** A line for every run; for runs that can go on, the command. */
function showRuns(found: readonly ListedRun[], what: string, runs: string, columns: number): string[] {
  if (found.length === 0) return [`${what}: none in ${runs}`];
  const width = Math.max(...found.map(({ id }) => id.length));
  const lines = found.map(({ id, status, empty, reason }) => {
    const facts = [status, ...(empty ? ['empty'] : [])].join(', ') + (status === 'failed' || status === 'damaged' ? `: ${reason}` : '');
    return wrap(`${id.padEnd(width)}  ${facts}`, columns, width + 2);
  });
  const [open] = found.filter(({ status }) => status === 'interrupted' || status === 'killed').slice(-1);
  const hint = what === 'removed' || open === undefined ? [] : [`go on with: ${typedCommand(['resume', open.id], runs)}`];
  return [...lines.flat(), ...hint];
}

/** The lines that a run prints at its end. */
function closing(folder: RunFolder, columns = Infinity): string[] {
  const rows = readClaims(folder.path);
  const width = Math.max(0, ...rows.map((row) => row.id.length));
  const place = relative(process.cwd(), folder.path) || '.';
  return [
    ...rows.flatMap((row) =>
      wrap(
        `${verdictSign[row.verdict]} ${row.id.padEnd(width)}  ${numberText(row.measured).padStart(9)}  (${boundText(row.bound)})  ${row.verdict}: ${row.claim}`,
        columns,
        4,
      ),
    ),
    `report: ${join(place, 'report.html')}`,
  ];
}
