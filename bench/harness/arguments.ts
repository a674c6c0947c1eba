import { parseArgs } from 'node:util';
import type { ContestOptions } from './contest.ts';
import type { PrepareOptions } from './work.ts';

export type BenchArguments = {
  /** Print one JSON array as the last line. */
  json: boolean;
  /** Also compare with TensorFlow.js's own engines. */
  tfjs: boolean;
  /** Measure only the rows of this name. */
  only?: string;
  contest: ContestOptions;
  prepare: PrepareOptions;
};

/**
 * Reads the arguments of `pnpm bench <name>`: `--json`, `--only <row>`, `--rounds <n>`, `--quick` (few short turns, for a quick look),
 * `--no-compile` (the peer does not try torch.compile, which takes minutes the first time), `--no-tfjs` (nothing is compared with
 * TensorFlow.js's own engines, which take seconds for one step).
 * @throws Error that says which argument is wrong
 */
export function benchArguments(words: readonly string[], names: readonly string[], bench: string): BenchArguments {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...words],
      options: {
        json: { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        'no-compile': { type: 'boolean', default: false },
        'no-tfjs': { type: 'boolean', default: false },
        only: { type: 'string' },
        rounds: { type: 'string' },
      },
    }));
  } catch (error) {
    throw new Error(`bench ${bench}: ${(error as Error).message.split('\n')[0]!.split('. ')[0]}`, { cause: error });
  }
  if (values.only !== undefined && !names.includes(values.only))
    throw new Error(`bench ${bench}: --only: wanted one of ${names.join(', ')}, got '${values.only}'`);
  const rounds = values.rounds === undefined ? (values.quick ? 3 : 9) : Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new Error(`bench ${bench}: --rounds: wanted a whole number from 1, got '${values.rounds}'`);
  return {
    json: values.json,
    tfjs: !values['no-tfjs'],
    ...(values.only === undefined ? {} : { only: values.only }),
    contest: values.quick ? { rounds, turnMs: 100, warmUpMs: 200 } : { rounds, turnMs: 400, warmUpMs: 1500 },
    prepare: { modes: values['no-compile'] ? ['eager'] : ['eager', 'compile'], seconds: values.quick ? 0.3 : 2 },
  };
}

/** Runs a bench. If it throws, prints one line and sets the exit code. */
export async function runBench(bench: () => Promise<void>): Promise<void> {
  try {
    await bench();
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
