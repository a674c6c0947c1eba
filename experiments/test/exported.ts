import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { HostTensor } from '@atelier/tensor';
import { readSafetensors } from '@atelier/tensor/node';
import { expect } from 'vitest';
import { experiments } from '../src/registry.ts';
import { here } from './child.ts';

type Value = { type: string; dims: readonly number[]; data: unknown };
type Ort = {
  Tensor: new (type: string, data: unknown, dims: readonly number[]) => Value;
  InferenceSession: { create(path: string): Promise<{ run(feeds: Record<string, Value>): Promise<Record<string, Value>> }> };
};

/** ONNX Runtime as a user has it, without a line of ours. */
const ort = createRequire(createRequire(import.meta.url).resolve('@atelier/backend-ort'))('onnxruntime-node') as Ort;

/**
 * Exports a network of a run, runs the file in ONNX Runtime, and holds the result against the samples that the network drew here from the same inputs.
 * Returns the path of the file.
 */
export async function expectExported(run: string, model: string, words: readonly string[] = []): Promise<string> {
  const [runs, id] = [dirname(run), run.slice(dirname(run).length + 1)];
  const asked = ['--model', model, '--n', '2', '--seed', '3', ...words];
  const exported = await here(['export', id, ...asked], runs, undefined, experiments);
  expect(exported).toMatchObject({ code: 0, err: '' });
  const file = join(run, 'export', `${model}.onnx`);
  expect(exported.out).toBe(['.onnx', '.md', '.example.safetensors'].map((end) => `${file.replace('.onnx', end)}\n`).join(''));

  const { tensors, metadata } = await readSafetensors(file.replace('.onnx', '.example.safetensors'));
  const { samples: ours, ...inputs } = tensors as Record<string, HostTensor> & { samples: HostTensor };
  expect(metadata).toMatchObject({ model, seed: '3' });
  const there = await runFile(file, inputs);
  expect(there.shape).toEqual(ours.shape);
  const difference = Math.max(...(there.data as Float32Array).map((value, i) => Math.abs(value - (ours.data as Float32Array)[i]!)));
  expect(difference).toBeLessThan(1e-5);

  return file;
}

async function runFile(file: string, inputs: Readonly<Record<string, HostTensor>>): Promise<HostTensor> {
  const session = await ort.InferenceSession.create(file);
  const feeds = Object.fromEntries(
    Object.entries(inputs).map(([name, { dtype, shape, data }]) => [name, new ort.Tensor(dtype, data, shape)]),
  );
  const { samples } = await session.run(feeds);
  return { dtype: 'float32', shape: [...samples!.dims], data: samples!.data as Float32Array };
}
