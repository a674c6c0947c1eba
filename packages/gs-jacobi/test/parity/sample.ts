import { type Tensor } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import { expect } from 'vitest';
import { gsJacobiSampler, officialStrategy } from '../../src/index.ts';
import { loadModel, toNCHW } from './model.ts';

/** One entry of a file's `settings`. */
type Setting = {
  name: string;
  num_GS: number[];
  max_jacobi: number[];
  guess: number[];
  ebound: number;
  guidance?: number;
  guide_what?: string;
  attn_temp?: number;
  annealed_guidance?: boolean;
};
const KNOWN = new Set([
  ...['name', 'num_GS', 'max_jacobi', 'guess', 'ebound', 'guidance', 'guide_what', 'attn_temp', 'annealed_guidance'],
  ...['count_margin', 'max_abs_vs_sequential', 'depth'],
]);

/** Whole samples under every setting of the file: images, the output of every block, and the number of iterations of every segment. */
export function gsjSample(file: GoldenFile, all: Golden): number {
  const { model, config } = loadModel(all.load(file.metadata['weights']!.split(' ')[0]!));
  const sampler = gsJacobiSampler(config);
  const noise = file.tensor('z');
  const y = file.has('y') ? file.tensor('y') : undefined;
  const settings = JSON.parse(file.metadata['settings']!) as Setting[];
  const close = { abs: 5e-5 };
  for (const setting of settings) {
    const unknown = Object.keys(setting).find((key) => !KNOWN.has(key));
    if (unknown !== undefined) throw new Error(`parity: wanted settings that are understood, got '${unknown}' in ${file.name}`);
    const tokens = noise.shape[1]!;
    const strategy = officialStrategy({ numGS: setting.num_GS, maxJacobi: setting.max_jacobi, guess: setting.guess }, tokens);
    const outputs: Tensor[] = [];
    const options = {
      strategy,
      official: true,
      tolerance: setting.ebound,
      ...(y && { y }),
      ...(setting.guidance && { guidance: guidanceOf(setting) }),
    };
    const { images, report } = sampler.sample(model, noise, options);
    for (const { x } of sampler.steps(model, noise, options)) outputs.push(x);
    outputs.forEach((x, i) => expectClose(x, file.host(`${setting.name}.block_out.${i}`), close, `${setting.name}.block_out.${i}`));
    expectClose(toNCHW(images), file.host(`${setting.name}.image`), close, `${setting.name}.image`);
    const counts = file.host(`${setting.name}.counts`);
    const columns = counts.shape[1]!;
    const ours = report.blocks.flatMap(({ segments, depth }) => {
      const row = segments?.map(({ iterations }) => iterations) ?? [depth];
      return [...row, ...new Array<number>(columns - row.length).fill(-1)];
    });
    expect(ours, `${setting.name}.counts`).toEqual([...counts.data]);
  }
  sampler.dispose();
  return settings.length;
}

/** The shift is `c` in encoreus/GS-Jacobi_for_TarFlow, `b` in apple/ml-tarflow and here. */
function guidanceOf({ guidance = 0, guide_what = 'ac', attn_temp = 1, annealed_guidance = false }: Setting) {
  return {
    weight: guidance,
    what: guide_what.replace('c', 'b') as 'a' | 'b' | 'ab',
    temperature: attn_temp,
    annealed: annealed_guidance,
  };
}
