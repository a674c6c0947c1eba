import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { readSafetensors } from '@atelier/tensor/node';
import { experiments } from '../src/registry.ts';
import { drawnPicture, openRun } from '../src/runner/draw.ts';
import { here, onlyRun, readJson, temporaryFolder } from './child.ts';
import { expectExported } from './exported.ts';

const atelier = (words: readonly string[], runs: string) => here(words, runs, undefined, experiments);
const TINY = ['parts=[gaussian]', 'gaussian={width: 8, depth: 1, samples: 16, manySteps: 2, training: {steps: 2, batch: 8}}'];

describe('a finished run', () => {
  let [runs, run, id] = ['', '', ''];
  beforeAll(async () => {
    runs = temporaryFolder();
    expect(await atelier(['run', 'meanflow', 'smoke', ...TINY], runs)).toMatchObject({ code: 0, err: '' });
    run = onlyRun(runs);
    id = run.slice(runs.length + 1);
  });

  it('is drawn from: points in the plane, the same for the same seed', async () => {
    const [a, b, c] = ['a.png', 'b.png', 'c.png'].map((name) => join(runs, name)) as [string, string, string];
    expect((await atelier(['sample', id, '--n', '40', '--out', a], runs)).out).toBe(
      `40 samples of 'gaussian-meanflow', 1 step, seed 0: ${a}\n`,
    );
    await atelier(['sample', id, '--n', '40', '--out', b], runs);
    await atelier(['sample', id, '--n', '40', '--out', c, '--seed', '1'], runs);
    expect(readFileSync(a).equals(readFileSync(b))).toBe(true);
    expect(readFileSync(a).equals(readFileSync(c))).toBe(false);
  });

  it('is exported with a card whose program for Node runs', async () => {
    const file = await expectExported(run, 'gaussian-flow-matching', ['--steps', '4']);
    // `atelier sample` draws the same picture as the samples in the example.
    const words = ['--model', 'gaussian-flow-matching', '--n', '2', '--seed', '3', '--steps', '4'];
    expect((await atelier(['sample', id, ...words], runs)).code).toBe(0);
    const { tensors } = await readSafetensors(file.replace('.onnx', '.example.safetensors'));
    const picture = drawnPicture(await openRun(experiments, runs, id, 'gaussian-flow-matching'), tensors['samples']!, undefined, 4);
    expect(readFileSync(join(run, 'drawn', 'gaussian-flow-matching.png')).equals(picture.png)).toBe(true);
    const card = readFileSync(file.replace('.onnx', '.md'), 'utf8');
    expect(card).toContain('| steps in this file | 4 |');
    expect(card).toContain('| samples (output) | float32 | [2, 2] | points in the plane |');
    const program = /```js\n([^]*?)```/.exec(card)![1]!;
    const folder = dirname(file);
    const runtime = createRequire(createRequire(import.meta.url).resolve('@atelier/backend-ort')).resolve('onnxruntime-node/package.json');
    mkdirSync(join(folder, 'node_modules'));
    symlinkSync(dirname(runtime), join(folder, 'node_modules', 'onnxruntime-node'));
    writeFileSync(join(folder, 'program.mjs'), program);
    const { stdout } = await promisify(execFile)(process.execPath, ['program.mjs'], { cwd: folder });
    expect(stdout).toMatch(/^\[ 2, 2 \] Float32Array\(4\)/);
  });

  it.each([
    [['sample', 'ID', '--model', 'gausian-meanflow'], "unknown model of ID 'gausian-meanflow': the nearest is 'gaussian-meanflow'"],
    [['sample', 'ID', '--n', '0'], "sample of 'gaussian-meanflow': n: wanted an integer at least 1 and at most 4096, got 0"],
    [['sample', 'ID', '--steps', '1.5'], "sample of 'gaussian-meanflow': steps: wanted an integer at least 1 and at most 1000, got 1.5"],
    [['sample', 'ID', '--class', '1'], "sample of 'gaussian-meanflow': class: wanted none, for the network has no classes, got '1'"],
    [['sample', 'ID', '--out', 'x.jpg'], "sample: out: wanted a file that ends with .png, got 'x.jpg'"],
    [['export', 'ID', '--out', 'x.bin'], "export: out: wanted a file that ends with .onnx, got 'x.bin'"],
    [['export', 'ID', '--engine', 'cpu'], "export: wanted the engine 'ort', got 'cpu'"],
    [['sample', 'another'], 'unknown run in'],
  ])('refuses %j', async (words, wanted) => {
    const { code, out, err } = await atelier(
      words.map((word) => word.replace('ID', id)),
      runs,
    );
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toContain(wanted.replace('ID', id));
  });

  it('is refused while it is not finished', async () => {
    const path = join(run, 'run.json');
    const record = readJson(path);
    writeFileSync(path, JSON.stringify({ ...record, status: 'interrupted' }));
    expect((await atelier(['sample', id], runs)).err).toBe(`${id}: wanted a finished run, got one that is interrupted\n`);
    writeFileSync(path, JSON.stringify(record));
  });
});
