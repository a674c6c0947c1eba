import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Linter, type ESLint } from 'eslint';
import tseslint from 'typescript-eslint';
import { describe, expect, it } from 'vitest';
import { workspace } from '../src/runner/machine.ts';
import { temporaryFolder } from './child.ts';

// The scripts at the top of the workspace are plain Node and have no types.
const script = async (name: string): Promise<Record<string, unknown>> =>
  (await import(join(workspace, 'scripts', name))) as Record<string, unknown>;
const { plugin } = (await script('eslint-rules.mjs')) as { plugin: ESLint.Plugin };
const { countTests } = (await script('count-tests.mjs')) as {
  countTests: (folder: string) => { passed: number; failed: number; skipped: number; skips: string[]; problems: string[] };
};

const linter = new Linter({ configType: 'flat', cwd: workspace });
const config: Linter.Config[] = [
  {
    files: ['**/*.ts'],
    languageOptions: { parser: tseslint.parser as Linter.Parser },
    plugins: { atelier: plugin },
    // Exceptions to other rules are not this configuration's to judge.
    linterOptions: { reportUnusedDisableDirectives: 'off' },
    rules: { 'atelier/layers': 'error', 'atelier/file-names': 'error' },
  },
];
const lint = (file: string, code: string): string[] =>
  linter.verify(code, config, { filename: join(workspace, file) }).map(({ message }) => message);

/** The TypeScript files below a folder of the workspace. */
function sources(folder: string): string[] {
  return readdirSync(join(workspace, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return ['node_modules', 'dist'].includes(entry.name) ? [] : sources(path);
    return entry.name.endsWith('.ts') ? [path] : [];
  });
}

describe('the layers of the workspace', () => {
  it.each([
    ['packages/nn/src/dit/model.ts', "import { tf } from '@atelier/tensor';"],
    ['packages/tensor/src/engine.ts', "import { registerOrt } from '@atelier/backend-ort';"],
    ['packages/tensor/src/tf.ts', "import * as tf from '@tensorflow/tfjs';"],
    ['packages/meanflow/src/model.ts', "import { applyDiT } from '@atelier/nn';"],
    ['packages/meanflow/test/parity.test.ts', "import { golden } from '@atelier/testkit';"],
    ['packages/swin-dit/example.ts', "import { gaussianField } from '@atelier/datasets';"],
    ['packages/gs-jacobi/src/sampler.ts', "import { flow } from '@atelier/tarflow';"],
    ['experiments/meanflow/index.ts', "import { meanFlowLoss } from '@atelier/meanflow'; import { trainLoop } from '../src/index.ts';"],
    ['bench/meanflow.ts', "import * as tf from '@tensorflow/tfjs'; import { Rng } from '@atelier/tensor';"],
  ])('%s may: %s', (file, code) => {
    expect(lint(file, code)).toEqual([]);
  });

  it.each([
    ['packages/backend-ort/src/graph.ts', "import { tf } from '@atelier/tensor';", 'backend-ort must not import tensor'],
    ['packages/tensor/src/tree.ts', "export * from '@atelier/nn';", 'tensor must not import nn'],
    ['packages/nn/src/dit/model.ts', "type X = import('@atelier/meanflow').X;", 'nn must not import meanflow'],
    ['packages/meanflow/src/model.ts', "const m = await import('@atelier/tarflow');", 'meanflow must not import tarflow'],
    ['packages/meanflow/src/model.ts', "import { golden } from '@atelier/testkit';", 'meanflow must not import testkit'],
    ['packages/meanflow/src/model.ts', "import { x } from '../../nn/src/dit.ts';", 'leaves the package'],
    [
      'packages/nn/src/dit/model.ts',
      "import * as tf from '@tensorflow/tfjs';",
      "'@tensorflow/tfjs' is imported by tensor and backend-ort alone",
    ],
    ['packages/tensor/src/engine.ts', "import ort from 'onnxruntime-node';", "'onnxruntime-node' is imported by backend-ort alone"],
    ['packages/nn/src/utils.ts', 'export {};', "'utils' says nothing"],
    ['packages/nn/src/someThing.ts', 'export {};', 'wanted a name in lower case with dashes'],
  ])('%s may not: %s', (file, code, words) => {
    const messages = lint(file, code);
    expect(messages).toHaveLength(1);
    expect(messages[0]).toContain(words);
  });

  it('hold in every source file', () => {
    const files = ['packages', 'datasets', 'experiments', 'bench'].flatMap(sources);
    expect(files.length).toBeGreaterThan(50);
    expect(
      files.flatMap((file) => lint(file, readFileSync(join(workspace, file), 'utf8')).map((message) => `${file}: ${message}`)),
    ).toEqual([]);
  });
});

describe('the count of the tests', () => {
  const report = (states: string[], broken = false): string =>
    JSON.stringify({
      numPassedTests: states.filter((state) => state === 'passed').length,
      numFailedTests: states.filter((state) => state === 'failed').length,
      numPendingTests: states.filter((state) => state === 'skipped').length,
      numTodoTests: 0,
      testResults: [
        {
          name: 'a.test.ts',
          status: states.includes('failed') ? 'failed' : 'passed',
          assertionResults: states.map((status, i) => ({ status, fullName: `test ${i}` })),
        },
        ...(broken ? [{ name: 'b.test.ts', status: 'failed', assertionResults: [] }] : []),
      ],
    });

  it('adds up packages; a file that could not be loaded and a damaged report are failures', () => {
    const folder = temporaryFolder();
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'nn.json'), report(['passed', 'passed', 'failed', 'skipped']));
    writeFileSync(join(folder, 'tensor.json'), report(['passed'], true));
    writeFileSync(join(folder, 'zero.json'), '{"numPassed');
    expect(countTests(folder)).toEqual({
      passed: 3,
      failed: 3,
      skipped: 1,
      skips: ['skipped: nn: test 3'],
      problems: ['failed: nn: test 2', 'failed: b.test.ts could not be run', 'zero.json: the report of the tests is damaged'],
    });
  });
});
