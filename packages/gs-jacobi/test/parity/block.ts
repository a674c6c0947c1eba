import { guidanceWeights, guidanceConfig, permute, type BlockParams, type GuidanceConfig } from '@atelier/tarflow';
import { tf, type Tensor } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import {
  compileCausalMap,
  guessKinds,
  prepareBlock,
  solveExactly,
  solveGsJacobi,
  tarflowMap,
  type BlockCache,
  type BlockInputs,
  type CompiledMap,
} from '../../src/index.ts';
import { taggedModel } from './model.ts';

const OFFICIAL = { tolerance: -1, clamp: 3, fallback: false };

/**
 * Single blocks, `<tag>.b<k>.<scale>.<case>`: `seq`, `J<n>.guess<g>` or `GS<segments>.J<n>.guess<g>`, exactly n iterations each, and behind that
 * `.g<10 w>[an]_t<10 τ>` for guidance.
 */
export function gsjBlock(file: GoldenFile, all: Golden): number {
  let cases = 0;
  const models = new Map<string, ReturnType<typeof taggedModel>>();
  const maps = new Map<string, CompiledMap<BlockParams, BlockInputs, BlockCache>>();
  const kept = <V>(map: Map<string, V>, key: string, make: () => V): V => {
    const value = map.get(key) ?? make();
    map.set(key, value);
    return value;
  };
  for (const key of file.keys()) {
    const name = /^(.+)\.b(\d+)\.([^.]+)\.(seq|(?:GS(\d+)\.)?J(\d+)\.guess(\d)(?:\.g(\d+)(an)?_t(\d+))?)$/.exec(key);
    if (name === null) {
      if (!/\.[zy]$/.test(key)) throw new Error(`parity: wanted a case that is understood, got '${key}' in ${file.name}`);
      continue;
    }
    const [, tag, block, scale, what, segments, iterations, guess, weight, annealed, temperature] = name;
    const { model, config } = kept(models, tag!, () => taggedModel(all, tag!));
    tf.tidy(() => {
      const at = `${tag}.b${block}.${scale}`;
      const k = Number(block);
      const y = file.has(`${at}.y`) ? file.tensor(`${at}.y`) : undefined;
      const z = file.tensor(`${at}.z`);
      const guidance: GuidanceConfig | null =
        weight === undefined
          ? null
          : guidanceConfig.parse({ weight: tenth(weight), annealed: annealed !== undefined, temperature: tenth(temperature!) });
      const prepared = prepareBlock(k, what === 'seq' ? 'z' : guessKinds[Number(guess)]!, {
        params: model.blocks[k]!,
        z,
        ...(y && { y }),
        ...(guidance && { weights: guidanceWeights(guidance, z.shape[1]!) }),
      });
      const { temperature: tau } = guidance ?? { temperature: 1 };
      const graphs = kept(maps, `${tag} ${tau}`, () => compileCausalMap(tarflowMap(config, tau)));
      const problem = { params: model.blocks[k]!, inputs: prepared.inputs, guess: prepared.guess };
      const options = { segments: Number(segments ?? 1), iterations: Number(iterations), ...OFFICIAL };
      const { x } = what === 'seq' ? solveExactly(graphs, problem, { window: 1 }) : solveGsJacobi(graphs, problem, options);
      expectClose(permute(x as Tensor, k), file.host(key), { abs: 2e-5 }, key);
    });
    cases++;
  }
  for (const graphs of maps.values()) graphs.dispose();
  return cases;
}

/** `12` is 1.2, `08` is 0.8. */
const tenth = (digits: string): number => Number(`${digits[0]}.${digits.slice(1)}`);
