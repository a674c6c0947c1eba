import { type HostTensor, parseConfig } from '@atelier/tensor';
import { ditConfig, ditParameters, type DiTSettings } from './config.ts';
import type { DiTParams } from './model.ts';
import { sinCosTable } from '../layers/position.ts';
import { parametersFrom, type StateDict } from '../parameters/load.ts';

/**
 * Parameters of a DiT from a state dict, under either of the two name schemes: that of facebookresearch/DiT (which is ours; of a training checkpoint, flattened
 * to `model.…`, `ema.…`, the average is taken, as the official code does) or that of the diffusers library (`transformer_blocks.0.attn1.to_q.weight`, …).
 *
 * The positions `pos_embed`, fixed and no parameter here, may be there for a grid of any size; they are looked at and left out. The caller owns the parameters.
 * @throws Error naming the first tensor that is missing, not known, or of another shape, or positions that are not the sine-cosine table
 */
export function ditFromStateDict(tensors: StateDict, settings: DiTSettings): DiTParams {
  const where = 'ditFromStateDict';
  const config = parseConfig(ditConfig, settings, where);
  const entries = Object.entries(tensors);
  const averaged = entries.filter(([name]) => name.startsWith('ema.'));
  const found = averaged.length > 0 ? Object.fromEntries(averaged.map(([name, host]) => [name.slice('ema.'.length), host])) : tensors;
  const { pos_embed: positions, ...weights } = Object.hasOwn(found, `${diffusersBlock(0)}norm1.linear.weight`)
    ? fromDiffusers(found, config.depth, where)
    : found;
  if (positions !== undefined) checkPositions(positions, config.width, where);

  return parametersFrom(weights, ditParameters(config), where) as DiTParams;
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

/** The same tensors under our names; what the scheme does not know keeps its own. */
function fromDiffusers(tensors: StateDict, depth: number, where: string): Record<string, HostTensor> {
  const left = new Map(Object.entries(tensors));
  const out: Record<string, HostTensor> = {};
  const take = (name: string): HostTensor | undefined => {
    const host = left.get(name);
    left.delete(name);
    return host;
  };
  const put = (name: string, host: HostTensor | undefined): void => {
    if (host !== undefined) out[name] = host;
  };
  for (const kind of ['weight', 'bias']) {
    for (const [ours, theirs] of Object.entries(DIFFUSERS)) {
      for (let l = 0; l < (ours.includes('{l}') ? depth : 1); l++) {
        const at = (name: string): string => `${name.replace('{l}', String(l))}.${kind}`;
        const parts = [theirs].flat().map((name) => [at(name), take(at(name))] as const);
        put(at(ours), parts.length === 1 ? parts[0]![1] : stacked(parts, where));
      }
    }
    for (const [ours, theirs] of Object.entries(REPEATED)) {
      const copies = Array.from({ length: depth }, (_, l) => `${diffusersBlock(l)}norm1.emb.${theirs}.${kind}`);
      const [first, ...others] = copies.map((name) => [name, take(name)] as const);
      for (const [name, copy] of others)
        if (copy !== undefined && !sameValues(copy, first![1]))
          throw new Error(`${where}: ${name}: wanted the values of '${first![0]}', which every block repeats, got others`);
      put(`${ours}.${kind}`, first![1]);
    }
  }
  put('pos_embed', take('pos_embed.pos_embed'));
  return { ...out, ...Object.fromEntries(left) };
}

/** Rows below each other; nothing if one is missing, so that the whole is missed. */
function stacked(parts: readonly (readonly [name: string, host: HostTensor | undefined])[], where: string): HostTensor | undefined {
  const [[firstName, first]] = parts as [(typeof parts)[number]];
  if (first === undefined || parts.some(([, host]) => host === undefined)) return undefined;
  const data = new Float32Array(parts.length * first.data.length);
  parts.forEach(([name, host], i) => {
    if (host!.shape.join() !== first.shape.join())
      throw new Error(`${where}: ${name}: wanted shape [${first.shape.join(', ')}] as '${firstName}' has, got [${host!.shape.join(', ')}]`);
    data.set(host!.data, i * first.data.length);
  });
  return { dtype: first.dtype, shape: [parts.length * first.shape[0]!, ...first.shape.slice(1)], data };
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
