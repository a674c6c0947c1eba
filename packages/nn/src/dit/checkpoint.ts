import { parseConfig, type HostTensor } from '@atelier/tensor';
import { sinCosTable } from '../layers/position.ts';
import { loadParameters, type LoadOptions, type StateDict } from '../parameters/load.ts';
import { ditConfig, ditParameters, type DiTSettings } from './config.ts';
import type { DiTParams } from './model.ts';

/**
 * Parameters of a DiT from a state dict, under either of the two name schemes: that of facebookresearch/DiT (which is ours; of a training checkpoint, flattened
 * to `model.…`, `ema.…`, the average is taken, as the official code does) or that of the diffusers library (`transformer_blocks.0.attn1.to_q.weight`, …).
 *
 * The positions `pos_embed`, fixed and no parameter here, may be there for a grid of any size; they are looked at and left out. The caller owns the parameters.
 * @throws Error naming every tensor that is missing, not known, or of another shape; or positions that are not the sine-cosine table
 */
export function ditFromStateDict(tensors: StateDict, settings: DiTSettings): DiTParams {
  const where = 'ditFromStateDict';
  const config = parseConfig(ditConfig, settings, where);
  const entries = Object.entries(tensors);
  const averaged = entries.filter(([name]) => name.startsWith('ema.'));
  const found = averaged.length > 0 ? Object.fromEntries(averaged.map(([name, host]) => [name.slice('ema.'.length), host])) : tensors;
  const theirs = Object.hasOwn(found, `${diffusersBlock(0)}norm1.linear.weight`);
  const positions = found[theirs ? 'pos_embed.pos_embed' : 'pos_embed'];
  if (positions !== undefined) checkPositions(positions, config.width, where);
  if (theirs) checkRepeated(found, config.depth, where);
  const names: LoadOptions = theirs ? diffusersNames(config.depth) : { ignore: /^pos_embed$/ };
  return loadParameters(ditParameters(config), found, names, where) as DiTParams;
}

const diffusersBlock = (l: number): string => `transformer_blocks.${l}.`;

/**
 * Modules of the diffusers export of DiT by ours (huggingface/diffusers scripts/convert_dit_to_diffusers.py). A list is stacked, in its order; `{l}` is the
 * number of a block.
 */
const DIFFUSERS: Readonly<Record<string, string | readonly string[]>> = {
  'x_embedder.proj': 'pos_embed.proj',
  'blocks.{l}.attn.qkv': ['transformer_blocks.{l}.attn1.to_q', 'transformer_blocks.{l}.attn1.to_k', 'transformer_blocks.{l}.attn1.to_v'],
  'blocks.{l}.attn.proj': 'transformer_blocks.{l}.attn1.to_out.0',
  'blocks.{l}.mlp.fc1': 'transformer_blocks.{l}.ff.net.0.proj',
  'blocks.{l}.mlp.fc2': 'transformer_blocks.{l}.ff.net.2',
  'blocks.{l}.adaLN_modulation.1': 'transformer_blocks.{l}.norm1.linear',
  'final_layer.adaLN_modulation.1': 'proj_out_1',
  'final_layer.linear': 'proj_out_2',
};
/** The embedders, which that export repeats below `norm1.emb` of every block. */
const REPEATED: Readonly<Record<string, string>> = {
  't_embedder.mlp.0': 'timestep_embedder.linear_1',
  't_embedder.mlp.2': 'timestep_embedder.linear_2',
  'y_embedder.embedding_table': 'class_embedder.embedding_table',
};
const repeatedName = (l: number, module: string, kind: string): string => `${diffusersBlock(l)}norm1.emb.${module}.${kind}`;

function diffusersNames(depth: number): LoadOptions {
  const rename = (name: string): string | readonly string[] => {
    const [, module, kind] = /^(.*)\.([^.]+)$/.exec(name) as unknown as [string, string, string];
    if (Object.hasOwn(REPEATED, module)) return repeatedName(0, REPEATED[module]!, kind);
    const l = /^blocks\.(\d+)\./.exec(name)?.[1] ?? '';
    const theirs = [DIFFUSERS[module.replace(/^blocks\.\d+/, 'blocks.{l}')]!].flat().map((part) => `${part.replace('{l}', l)}.${kind}`);
    return theirs.length === 1 ? theirs[0]! : theirs;
  };
  const copies = Array.from({ length: depth }, (_, l) => l).slice(1);
  const modules = Object.values(REPEATED).map((module) => module.replaceAll('.', '\\.'));
  const ignore = new RegExp(
    `^(pos_embed\\.pos_embed|transformer_blocks\\.(${copies.join('|') || '-'})\\.norm1\\.emb\\.(${modules.join('|')})\\.(weight|bias))$`,
  );
  return { rename, ignore };
}

/** Throws unless the embedders that every block repeats are equal. */
function checkRepeated(tensors: StateDict, depth: number, where: string): void {
  for (const module of Object.values(REPEATED)) {
    for (const kind of ['weight', 'bias']) {
      const first = repeatedName(0, module, kind);
      for (let l = 1; l < depth; l++) {
        const copy = tensors[repeatedName(l, module, kind)];
        if (copy !== undefined && !sameValues(copy, tensors[first]))
          throw new Error(
            `${where}: ${repeatedName(l, module, kind)}: wanted the values of '${first}', which every block repeats, got others`,
          );
      }
    }
  }
}

const sameValues = (a: HostTensor, b: HostTensor | undefined): boolean =>
  b !== undefined && a.data.length === b.data.length && a.data.every((value, i) => value === b.data[i]);

/** The official average goes over the fixed table too, which moves it by roundings: they stay below 10⁻³, while swapped axes are off by 1. */
function checkPositions(positions: HostTensor, width: number, where: string): void {
  const [one, T, D] = positions.shape;
  const side = Math.sqrt(T ?? 0);
  if (positions.shape.length !== 3 || one !== 1 || D !== width || !Number.isInteger(side) || side < 1)
    throw new Error(`${where}: pos_embed: wanted shape [1, T, ${width}] of a square grid, got [${positions.shape.join(', ')}]`);
  const table = sinCosTable(side, side, width);
  const odd = table.findIndex((value, i) => !(Math.abs(value - positions.data[i]!) < 1e-2));
  if (odd >= 0)
    throw new Error(`${where}: pos_embed: wanted the sine-cosine table (${table[odd]} at index ${odd}), got ${positions.data[odd]}`);
}
