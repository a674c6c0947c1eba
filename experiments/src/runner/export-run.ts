import { join } from 'node:path';
import { disposeTree, encodeSafetensors, engineName, shown, toTensor, type HostTensor } from '@atelier/tensor';
import { compileDrawer, drawInputs, drawSamples, type DrawRequest, type OpenedRun } from './draw.ts';
import { StopError } from './errors.ts';
import { modelCard } from './model-card.ts';
import { writeFile } from './write-file.ts';

/**
 * `atelier export`: writes the sampler of a network as `<name>.onnx`, one graph with the weights inside, for a fixed number of samples and steps; beside it
 * `<name>.md`, a model card, and `<name>.example.safetensors`, inputs and the samples that `atelier sample` draws from them.
 *
 * @returns the paths of the three files
 */
export async function exportRun(opened: OpenedRun, request: DrawRequest, out?: string): Promise<string[]> {
  const { folder, name } = opened;
  if (engineName() !== 'ort') throw new StopError(`export: wanted the engine 'ort', got '${engineName()}'`);
  if (out !== undefined && !out.endsWith('.onnx'))
    throw new StopError(`export: out: wanted a file that ends with .onnx, got ${shown(out)}`);
  const { inputs, steps } = await drawInputs(opened, request);
  const run = compileDrawer(opened, steps);
  const samples = await drawSamples(run, inputs);
  const tensors = Object.fromEntries(Object.entries(inputs).map(([key, host]) => [key, toTensor(host)]));
  const bytes = run.onnx(tensors);
  disposeTree(tensors);
  run.dispose();
  const path = out ?? join(folder.path, 'export', `${name}.onnx`);
  const stem = path.slice(0, -'.onnx'.length);
  await writeFile(path, bytes);
  const example: Record<string, HostTensor> = { ...inputs, samples };
  const metadata = { run: folder.record.id, model: name, steps: String(steps), seed: String(request.seed) };
  await writeFile(`${stem}.example.safetensors`, encodeSafetensors(example, metadata));
  await writeFile(`${stem}.md`, modelCard(opened, { inputs, samples, steps, path, bytes: bytes.length }));
  return [path, `${stem}.md`, `${stem}.example.safetensors`];
}
