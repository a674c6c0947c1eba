import { join } from 'node:path';
import { shown } from '@atelier/tensor';
import { StopError } from './errors.ts';
import { compileDrawer, drawInputs, drawnPicture, drawSamples, type DrawRequest, type OpenedRun } from './draw.ts';
import { writeFile } from './write-file.ts';

/** `atelier sample`: draws from a network of a run and writes a picture. Returns what to say. */
export async function sampleRun(opened: OpenedRun, request: DrawRequest, out?: string): Promise<string> {
  const { folder, name, drawer } = opened;
  if (out !== undefined && !out.endsWith('.png')) throw new StopError(`sample: out: wanted a file that ends with .png, got ${shown(out)}`);
  const { inputs, steps } = await drawInputs(opened, request);
  const run = compileDrawer(opened, steps);
  const samples = await drawSamples(run, inputs);
  run.dispose();
  const path = out ?? join(folder.path, 'drawn', `${name}.png`);
  await writeFile(path, drawnPicture(opened, samples, inputs['y'], steps).png);
  const count = drawer.steps === undefined ? '' : `${steps} ${steps === 1 ? 'step' : 'steps'}, `;
  return `${request.n} ${request.n === 1 ? 'sample' : 'samples'} of '${name}', ${count}seed ${request.seed}: ${path}`;
}
