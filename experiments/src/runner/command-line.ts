import { join, relative } from 'node:path';
import { configKeys } from '@atelier/tensor';
import { cac, type CAC } from 'cac';
import { boundText, numberText, verdictSign } from './claims.ts';
import { resolveConfig } from './config.ts';
import { examine } from './doctor.ts';
import { Interrupted, sentence, StopError } from './errors.ts';
import type { Experiment } from './experiment.ts';
import { committed, mergeRuns, reportRuns } from './ledger-files.ts';
import { workspace } from './machine.ts';
import { unknown } from '@atelier/tensor';
import { makeProgress, type Screen } from './progress.ts';
import { writeReport } from './report-html.ts';
import { readClaims, type Audience } from './run-context.ts';
import { RunFolder } from './run-folder.ts';
import { findExperiment, resumeRun, startRun } from './run.ts';

/** The output streams of the command line, and the signal of Ctrl-C. */
export interface Terminal {
  readonly out: Screen;
  readonly err: Screen;
  readonly signal: AbortSignal;
}

type RunOptions = { runs?: string; engine?: string; device?: string; threads?: number };

/**
 * The command line: `list`, `run`, `resume`, `report`, `ledger`, `doctor`.
 *
 * @param argv the words after `atelier`
 * @returns the exit code: 0, 1 after one sentence on stderr, or 130 after Ctrl-C. With `ATELIER_DEBUG` set, errors are printed whole.
 */
export async function main(argv: readonly string[], experiments: readonly Experiment[], terminal: Terminal): Promise<number> {
  const { out, err, signal } = terminal;
  const say = (line = ''): void => void out.write(`${line}\n`);
  const audience: Audience = { signal, progress: makeProgress(out), note: say };
  const runsOf = (options: RunOptions): string => options.runs ?? process.env['ATELIER_RUNS'] ?? join(workspace, 'runs');
  const warn = (text: string): void => void err.write(`${text}\n`);
  let code = 0;

  const cli = cac('atelier');
  cli.option('--runs <dir>', 'Folder of the run folders (ATELIER_RUNS; runs/ of the workspace)');
  cli.command('list [experiment]', 'All experiments, or the keys and claims of one').action((name: string | undefined) => {
    for (const line of name === undefined ? listAll(experiments) : describe(findExperiment(experiments, name))) say(line);
  });
  cli
    .command('run <experiment> [...words]', 'Run a preset (smoke unless told), key=value laid over it')
    .option('--engine <name>', 'ort, cpu, wasm or tensorflow (ATELIER_ENGINE; ort)')
    .option('--device <name>', 'Execution provider of ort: cpu, webgpu, cuda')
    .option('--threads <n>', 'Threads of ort')
    .example('atelier run meanflow full seed=1')
    .action(async (experiment: string, words: string[], options: RunOptions) => {
      const [first] = words;
      const preset = first === undefined || first.includes('=') ? 'smoke' : first;
      const rest = preset === first ? words.slice(1) : words;
      const { engine: name, device, threads } = options;
      const request = { experiment, preset, words: rest, runs: runsOf(options), engine: { name, device, threads } };
      say(...closing(await startRun(experiments, request, audience)));
    });
  cli.command('resume <run>', 'Go on with a run that was killed, stopped or failed').action(async (run: string, options: RunOptions) => {
    say(...closing(await resumeRun(experiments, runsOf(options), run, audience)));
  });
  cli
    .command('report [run]', 'The ledger over all runs, or the report of one run')
    .option('--out <dir>', 'Folder of results.md and results.html (that of the runs)')
    .action(async (run: string | undefined, options: RunOptions & { out?: string }) => {
      const runs = runsOf(options);
      if (run !== undefined) {
        const folder = RunFolder.open(runs, run);
        say(`report: ${await writeReport(findExperiment(experiments, folder.record.experiment), folder.path)}`);
      } else say(await reportRuns(experiments, runs, options.out ?? runs, warn));
    });
  cli
    .command('ledger <action>', 'For maintainers: merge adds what was measured to the committed ledger')
    .option('--docs <dir>', 'Folder of the committed ledger (docs/ of the workspace)')
    .action(async (action: string, options: RunOptions & { docs?: string }) => {
      if (action !== 'merge') throw new StopError(unknown('action of ledger', action, ['merge']));
      for (const line of await mergeRuns(experiments, runsOf(options), options.docs ?? committed, warn)) say(line);
    });
  cli.command('doctor', 'What this machine has of what runs need').action(async (options: RunOptions) => {
    const findings = await examine(runsOf(options));
    for (const { subject, state, words } of findings)
      say(`${{ good: 'ok    ', absent: 'absent', bad: 'BAD   ' }[state]}  ${subject.padEnd(18)} ${words}`);
    if (findings.some(({ state }) => state === 'bad')) code = 1;
  });
  cli.help();

  try {
    cli.parse(['node', 'atelier', ...argv], { run: false });
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
    else err.write(`${commandLineSentence(error, cli)}\n`);
    return error instanceof Interrupted ? 130 : 1;
  }
}

/** Adds the nearest option to the errors of the parser. */
function commandLineSentence(error: unknown, cli: CAC): string {
  const words = sentence(error);
  const option = /^Unknown option `(--?[\w-]+)`/.exec(words)?.[1];
  if (option === undefined) return words;
  const known = [...(cli.matchedCommand?.options ?? []), ...cli.globalCommand.options].map(({ name }) => `--${name}`);
  return unknown('option', option, known);
}

function listAll(experiments: readonly Experiment[]): string[] {
  return experiments.flatMap(({ name, title, paper, presets, claims }) => [
    `${name.padEnd(14)} ${title} (arXiv ${paper.arxiv})`,
    `${''.padEnd(14)} presets ${Object.keys(presets).join(', ')}; ${claims.length} claims`,
  ]);
}

/** Every key with its value in every preset, and the claims. */
function describe(experiment: Experiment): string[] {
  const presets = Object.keys(experiment.presets);
  const configs = presets.map((preset) => resolveConfig(experiment, preset, []) as unknown as Record<string, unknown>);
  const at = (config: unknown, path: string): unknown =>
    path.split('.').reduce<unknown>((part, key) => (part as Record<string, unknown> | undefined)?.[key], config);
  const keys = [...configKeys(experiment.schema).keys()];
  const leaves = keys.filter((key) => !keys.some((other) => other.startsWith(`${key}.`)));
  const table = [['key', ...presets], ...leaves.map((key) => [key, ...configs.map((config) => JSON.stringify(at(config, key)) ?? '-')])];
  const widths = table[0]!.map((_, i) => Math.max(...table.map((row) => row[i]!.length)));
  return [
    `${experiment.title}: ${experiment.paper.title} (arXiv ${experiment.paper.arxiv})`,
    '',
    ...table.map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    ),
    '',
    ...experiment.claims.map(
      ({ id, claim, bound, presets: by }) =>
        `${id}: ${claim} [${boundText(bound)}${by.length > 0 ? `; measured by ${by.join(', ')}` : ''}]`,
    ),
  ];
}

/** The lines that a run prints at its end. */
function closing(folder: RunFolder): [string] {
  const rows = readClaims(folder.path);
  const width = Math.max(0, ...rows.map((row) => row.id.length));
  const place = relative(process.cwd(), folder.path) || '.';
  return [
    [
      ...rows.map(
        (row) =>
          `${verdictSign[row.verdict]} ${row.id.padEnd(width)}  ${numberText(row.measured).padStart(9)}  (${boundText(row.bound)})  ${row.verdict}: ${row.claim}`,
      ),
      `report: ${join(place, 'report.html')}`,
    ].join('\n'),
  ];
}
