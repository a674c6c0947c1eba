import { disposeTree, encodeSafetensors, parseSafetensors, Rng, tf, toHostTree, useEngine, type HostTensor } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { ditFromStateDict, ditParameters, sinCosPositions, type DiTSettings } from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

const settings = {
  inChannels: 3,
  patchSize: 2,
  width: 8,
  depth: 2,
  heads: 2,
  mlpRatio: 2,
  frequencySize: 6,
  numClasses: 4,
  learnSigma: true,
} satisfies DiTSettings;

type Dict = Record<string, HostTensor>;

/** A state dict of the official code, read from a file as it would be. */
function officialDict(positions?: { h: number; w: number }): Dict {
  const rng = new Rng('checkpoint');
  const dict: Dict = {};
  for (const [name, { shape }] of Object.entries(ditParameters(settings)))
    dict[name] = { dtype: 'float32', shape, data: rng.child(name).normals(shape.reduce((a, b) => a * b, 1)) };
  if (positions) {
    const { h, w } = positions;
    const table = tf.tidy(() => Float32Array.from(sinCosPositions(h, w, settings.width).dataSync()));
    dict['pos_embed'] = { dtype: 'float32', shape: [1, h * w, settings.width], data: table };
  }
  return parseSafetensors(encodeSafetensors(dict), 'file').tensors;
}

/** The same under the names of the diffusers library, written out one by one. */
function diffusersDict(official: Dict): Dict {
  const out: Dict = {};
  const D = settings.width;
  const third = (host: HostTensor, part: number): HostTensor => ({
    dtype: 'float32',
    shape: [D, ...host.shape.slice(1)],
    data: (host.data as Float32Array).slice((part * host.data.length) / 3, ((part + 1) * host.data.length) / 3),
  });
  for (const kind of ['weight', 'bias']) {
    const get = (name: string): HostTensor => official[`${name}.${kind}`]!;
    out[`pos_embed.proj.${kind}`] = get('x_embedder.proj');
    out[`proj_out_1.${kind}`] = get('final_layer.adaLN_modulation.1');
    out[`proj_out_2.${kind}`] = get('final_layer.linear');
    for (let l = 0; l < settings.depth; l++) {
      const block = `transformer_blocks.${l}`;
      out[`${block}.norm1.emb.timestep_embedder.linear_1.${kind}`] = get('t_embedder.mlp.0');
      out[`${block}.norm1.emb.timestep_embedder.linear_2.${kind}`] = get('t_embedder.mlp.2');
      if (kind === 'weight') out[`${block}.norm1.emb.class_embedder.embedding_table.weight`] = get('y_embedder.embedding_table');
      out[`${block}.norm1.linear.${kind}`] = get(`blocks.${l}.adaLN_modulation.1`);
      ['to_q', 'to_k', 'to_v'].forEach((name, i) => (out[`${block}.attn1.${name}.${kind}`] = third(get(`blocks.${l}.attn.qkv`), i)));
      out[`${block}.attn1.to_out.0.${kind}`] = get(`blocks.${l}.attn.proj`);
      out[`${block}.ff.net.0.proj.${kind}`] = get(`blocks.${l}.mlp.fc1`);
      out[`${block}.ff.net.2.${kind}`] = get(`blocks.${l}.mlp.fc2`);
    }
  }
  if (official['pos_embed']) out['pos_embed.pos_embed'] = official['pos_embed'];
  return out;
}

const without = (dict: Dict, name: string): Dict => Object.fromEntries(Object.entries(dict).filter(([key]) => key !== name));

describe('ditFromStateDict', () => {
  const { pos_embed: positions, ...weights } = officialDict({ h: 3, w: 3 });

  it.each([
    ['the official names', weights],
    ['the official names with positions', { ...weights, pos_embed: positions! }],
    ['the names of diffusers', diffusersDict(weights)],
    ['the names of diffusers with positions', diffusersDict({ ...weights, pos_embed: positions! })],
    [
      'a training checkpoint, of which the average counts',
      Object.fromEntries(
        Object.entries(weights).flatMap(([name, host]) => [
          [`model.${name}`, { ...host, data: host.data.map((v) => v + 1) }],
          [`ema.${name}`, host],
        ]),
      ) as Dict,
    ],
  ])('reads %s', async (_, dict) => {
    const params = ditFromStateDict(dict, settings);
    const read = await toHostTree(params);
    expect(Object.keys(read).sort()).toEqual(Object.keys(weights).sort());
    for (const [name, host] of Object.entries(weights)) expectClose(read[name]!, host, {}, name);
    disposeTree(params);
  });

  it('leaves no tensor behind, also when it refuses', async () => {
    await expectNoLeak(() => disposeTree(ditFromStateDict(weights, settings)));
    await expectNoLeak(() => {
      expect(() => ditFromStateDict(weights, { ...settings, width: 16 })).toThrow();
    });
  });

  it('refuses what is not this network', () => {
    const read =
      (dict: Dict, of: DiTSettings = settings) =>
      (): unknown =>
        ditFromStateDict(dict, of);
    const theirs = diffusersDict(weights);
    expect(read(without(weights, 'blocks.1.attn.qkv.bias'))).toThrow(
      'ditFromStateDict: wanted the tensors of the model, got a state dict with missing blocks.1.attn.qkv.bias',
    );
    expect(read(without(theirs, 'transformer_blocks.1.attn1.to_k.weight'))).toThrow(
      'ditFromStateDict: wanted the tensors of the model, got a state dict with missing transformer_blocks.1.attn1.to_k.weight',
    );
    expect(read({ ...weights, extra: weights['x_embedder.proj.bias']! })).toThrow(
      'ditFromStateDict: wanted the tensors of the model, got a state dict with not of this model extra',
    );
    expect(read({ ...theirs, extra: weights['x_embedder.proj.bias']! })).toThrow('not of this model extra');
    expect(read(weights, { ...settings, depth: 1 })).toThrow('not of this model blocks.1.');
    expect(read(theirs, { ...settings, depth: 1 })).toThrow('not of this model transformer_blocks.1.');
    expect(read(weights, { ...settings, width: 16 })).toThrow(
      'ditFromStateDict: wanted the tensors of the model, got a state dict with misshapen x_embedder.proj.weight (wanted float32 [16, 3, 2, 2], got float32 [8, 3, 2, 2]), x_embedder.proj.bias (wanted',
    );
    expect(read(weights, { ...settings, learnSigma: false })).toThrow(
      'misshapen final_layer.linear.weight (wanted float32 [12, 8], got float32 [24, 8]), final_layer.linear.bias (wanted float32 [12], got float32 [24])',
    );
    const bias = weights['final_layer.linear.bias']!;
    expect(read({ ...weights, 'final_layer.linear.bias': { ...bias, dtype: 'int32', data: Int32Array.from(bias.data) } })).toThrow(
      'misshapen final_layer.linear.bias (wanted float32 [24], got int32 [24])',
    );
    const other = 'transformer_blocks.1.norm1.emb.timestep_embedder.linear_2.weight';
    expect(read({ ...theirs, [other]: { ...theirs[other]!, data: theirs[other]!.data.map((v) => v + 1) } })).toThrow(
      `ditFromStateDict: ${other}: wanted the values of 'transformer_blocks.0.norm1.emb.timestep_embedder.linear_2.weight', which every block repeats`,
    );
    expect(read({ ...theirs, 'transformer_blocks.0.attn1.to_v.bias': bias })).toThrow(
      'misshapen transformer_blocks.0.attn1.to_v.bias (wanted float32 [8], got float32 [24])',
    );
  });

  it('refuses positions that are not the table', () => {
    const read = (host: HostTensor) => (): unknown => ditFromStateDict({ ...weights, pos_embed: host }, settings);
    const drifted = { ...positions!, data: positions!.data.map((v) => v * (1 - 2e-4)) };
    expect(read(drifted)).not.toThrow();
    // Rows in the place of columns: the halves of the width the other way round.
    const swapped = { ...positions!, data: positions!.data.map((_, i, all) => all[i - (i % 8) + (((i % 8) + 4) % 8)]!) };
    expect(read(swapped)).toThrow('ditFromStateDict: pos_embed: wanted the sine-cosine table');
    expect(read({ ...positions!, data: positions!.data.map(() => NaN) })).toThrow('wanted the sine-cosine table (0 at index 0), got NaN');
    expect(read({ ...positions!, shape: [9, 8] })).toThrow('pos_embed: wanted shape [1, T, 8] of a square grid, got [9, 8]');
    expect(read(officialDict({ h: 2, w: 3 })['pos_embed']!)).toThrow('of a square grid, got [1, 6, 8]');
  });
});
