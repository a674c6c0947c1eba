import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { experiments } from '../src/registry.ts';
import { main } from '../src/runner/command-line.ts';
import type { Experiment } from '../src/runner/experiment.ts';
import type { MutatedKind } from './read.ts';
import { badWords } from './read.ts';

/** The experiments as they are, but nothing is computed. */
const idle: readonly Experiment[] = experiments.map((one) => ({ ...one, tour: undefined as never, run: async () => undefined }));

const LINES = [
  'list meanflow',
  'run meanflow smok seed=1',
  'run meanflw smoke',
  'run meanflow nothing --engine ort --threads 1',
  'resume meanflow-smoke-20260101-000000',
  'runs clean',
  'report meanflow-smoke',
  'sample meanflow --n 4 --class 1,2 --seed 0 --out x.png',
  'sample meanflow --shard 1/2',
  'export meanflow --model images --out x.onnx',
  'fid meanflow --features x.onnx --range 0..1 --reference x.npz',
  'sweep meanflw smoke seed=0..2 --list --processes 2 --shard 1/2',
  'compare meanflow smoke --metric a --against b --out x.png',
  'merge a b --out x.safetensors',
  'merge a.safetensors',
  'ledger --plan --preset ful',
];

/** The parser prints its help by itself. */
async function silently<T>(work: () => Promise<T>): Promise<T> {
  const { info, log } = console;
  console.info = console.log = () => {};
  try {
    return await work();
  } finally {
    Object.assign(console, { info, log });
  }
}

/** Whole command lines: names of commands, experiments, presets, runs, options and their values. */
export const commands: MutatedKind = {
  name: 'command line',
  share: 5,
  async open(folder) {
    const runs = join(folder, 'runs');
    return (mutator) => {
      const words = mutator.pick(LINES).split(' ');
      for (let i = mutator.below(2); i >= 0; i--) {
        const at = mutator.below(words.length);
        const act = mutator.below(6);
        if (act === 0) words.splice(at, 1);
        else if (act === 1) words.splice(at, 0, words[mutator.below(words.length)] ?? '');
        else if (act === 2)
          words.splice(at, 0, `--${mutator.pick(['n', 'out', 'runs', 'seed', 'x.y', '__proto__', 'class', 'no-n', 'help', 'engine'])}`);
        else words[at] = mutator.text(words[at]!);
      }
      let [out, err] = ['', ''];
      return {
        input: words.join('\u0000'),
        read: async () => {
          rmSync(folder, { recursive: true, force: true });
          mkdirSync(runs, { recursive: true });
          const code = await silently(() =>
            main(['--runs', runs, ...words.filter((word) => word !== 'tour' && word !== 'doctor' && word !== 'merge-ledger')], idle, {
              out: { write: (text) => void (out += text), columns: 100 },
              err: { write: (text) => void (err += text) },
              signal: AbortSignal.abort(),
            }),
          );
          if (code === 1) throw new Error(err.replace(/\n$/, ''));
          return code;
        },
        wrong: () => {
          const strangers = readdirSync(dirname(folder)).filter((one) => join(dirname(folder), one) !== folder);
          if (strangers.length > 0) return `made ${strangers.join(', ')} outside of its folder`;
          return [...out.split('\n'), ...err.split('\n')].map((line) => (line.length < 1000 ? badWords(line || 'nothing') : undefined)).find((fault) => fault !== undefined); // prettier-ignore
        },
      };
    };
  },
};
