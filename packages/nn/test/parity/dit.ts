import { flattenTree, tf, valueAndGrad, type Tensor, type Tree } from '@atelier/tensor';
import { expectClose, officialDiT, type Golden, type GoldenFile } from '@atelier/testkit';
import { expect } from 'vitest';
import {
  applyDiT,
  ditBlock,
  ditFinalLayer,
  ditParameters,
  dropLabels,
  embedClass,
  embedPatches,
  embedTimestep,
  gelu,
  multiHeadSelfAttention,
  silu,
  sinCosPositions,
  timestepEmbedding,
  unpatchify,
  type DiTBlockParams,
  type DiTFinalParams,
  type DiTParams,
} from '../../src/index.ts';

// Values of the official PyTorch DiT (facebookresearch/DiT). Bounds are relative to a tensor's largest value unless they say otherwise.
const { named, nchwToNhwc, nhwcToNchw, settingsOf, tree, weightsOf } = officialDiT;

/** `a=1,b=2;a=3,b=4` as a list of records. */
const records = (file: GoldenFile, key: string): Record<string, number>[] =>
  file.metadata[key]!.split(';').map((part) =>
    Object.fromEntries(part.split(',').map((pair) => [pair.split('=')[0]!, Number(pair.split('=')[1])])),
  );

const rows = (numClasses: number, nullClass: boolean): number =>
  ditParameters({ inChannels: 1, patchSize: 1, width: 4, depth: 1, heads: 1, numClasses, nullClass })['y_embedder.embedding_table.weight']!
    .shape[0]!;

/** Timestep embeddings; position tables. */
export function embeddings(file: GoldenFile): number {
  const [times, grids] = [records(file, 'temb'), records(file, 'pos')];
  expect(times.length).toBeGreaterThan(0);
  times.forEach(({ dim, max_period: maxPeriod }, i) =>
    expectClose(
      timestepEmbedding(file.tensor(`temb${i}.t`), dim!, { maxPeriod: maxPeriod! }),
      file.host(`temb${i}.out`),
      { abs: 1e-4 },
      `case ${i}`,
    ),
  );
  expect(grids.length).toBeGreaterThan(0);
  grids.forEach(({ dim, grid }, i) =>
    expectClose(sinCosPositions(grid!, grid!, dim!), file.host(`pos${i}.out`), { abs: 1e-6 }, `case ${i}`),
  );
  return times.length + grids.length;
}

/** Output and all gradients. */
export function block(file: GoldenFile): number {
  const heads = Number(file.setting('num_heads'));
  const inputs = { params: tree(file.tensors('w.')) as DiTBlockParams, x: file.tensor('in.x'), c: file.tensor('in.c') };
  const { grads, aux } = valueAndGrad((at: typeof inputs) => {
    const out = ditBlock(at.params, at.x, silu(at.c), (u) => multiHeadSelfAttention(at.params.attn, u, heads));
    return { loss: tf.sum(tf.mul(out, file.tensor('in.gout'))), aux: { out } };
  }, inputs);
  expectClose(aux.out, file.host('out'), { max: 1e-4 });
  expectClose(grads.x, file.host('g_in.x'), { max: 5e-4 }, 'x');
  expectClose(grads.c, file.host('g_in.c'), { max: 5e-4 }, 'c');
  const got = flattenTree(grads.params);
  const wanted = file.tensors('g.');
  expect(Object.keys(got).sort()).toEqual(Object.keys(wanted).sort());
  for (const [key, gradient] of Object.entries(wanted)) expectClose(got[key]!, gradient, { max: 5e-4 }, key);
  return Object.keys(wanted).length;
}

/** The parameters that the table names; output and activations. */
export function forward(file: GoldenFile): number {
  const settings = settingsOf(file);
  const { params, positions } = weightsOf<DiTParams>(file);
  const shapes = Object.fromEntries(Object.entries(flattenTree(params)).map(([key, leaf]) => [key, leaf.shape]));
  expect(shapes).toEqual(Object.fromEntries(Object.entries(ditParameters(settings)).map(([key, { shape }]) => [key, shape])));

  const x = nchwToNhwc(file.tensor('in.x'));
  const t = tf.cast(file.tensor('in.t'), 'float32');
  const y = file.tensor('in.y');
  const [h, w] = [x.shape[1]! / settings.patchSize, x.shape[2]! / settings.patchSize];
  const close = (actual: Tensor, key: string): void => expectClose(actual, file.host(key), { max: 1e-4 }, key);

  expectClose(tf.expandDims(sinCosPositions(h, w, settings.width), 0), positions, { abs: 1e-6 }, 'pos_embed');
  close(embedPatches(params.x_embedder.proj, x), 'act.x_embedder');
  close(embedTimestep(params.t_embedder, t), 'act.t_embedder');
  if (!('y_embedder' in params)) throw new Error('parity: wanted a class table, got none');
  close(embedClass(params.y_embedder.embedding_table, y), 'act.y_embedder');

  const condition = silu(tf.add(embedTimestep(params.t_embedder, t), embedClass(params.y_embedder.embedding_table, y)));
  let tokens = tf.add(embedPatches(params.x_embedder.proj, x), sinCosPositions(h, w, settings.width));
  params.blocks.forEach((block, layer) => {
    tokens = ditBlock(block, tokens, condition, (u) => {
      close(u, `act.block${layer}.attn_in`);
      const mixed = multiHeadSelfAttention(block.attn, u, settings.heads);
      close(mixed, `act.block${layer}.attn_out`);
      return mixed;
    });
    close(tokens, `act.block${layer}`);
  });
  close(ditFinalLayer(params.final_layer, tokens, condition), 'act.final_layer');
  close(nhwcToNchw(applyDiT(params, x, { t, y }, settings)), 'out');
  return Object.keys(shapes).length;
}

/** Gradients of every parameter and of the image. */
export function backward(file: GoldenFile, all: Golden): number {
  const forward = all.load(named(file, 'weights_and_inputs'));
  const inputs = { params: weightsOf<DiTParams>(forward).params, x: forward.tensor('in.x') };
  const t = tf.cast(forward.tensor('in.t'), 'float32');
  const { loss, grads } = valueAndGrad((at: typeof inputs) => {
    const out = applyDiT(at.params, nchwToNhwc(at.x), { t, y: forward.tensor('in.y') }, settingsOf(forward));
    return { loss: tf.mean(tf.square(tf.sub(nhwcToNchw(out), forward.tensor('in.target')))), aux: {} };
  }, inputs);
  expectClose(tf.reshape(loss, [1]), forward.host('loss'), { rel: 1e-4 }, 'loss');
  const from = file.hasAny('g_in.x') ? file : forward;
  expectClose(grads.x, from.host('g_in.x'), { max: 5e-4 }, 'x');
  const got = flattenTree(grads.params);
  const wanted = file.tensors('g.');
  expect(Object.keys(got).sort()).toEqual(Object.keys(wanted).sort());
  for (const [key, gradient] of Object.entries(wanted)) expectClose(got[key]!, gradient, { max: 5e-4 }, key);
  return Object.keys(wanted).length;
}

/** Activation curves; labels, kept and dropped; patch embedding and unpatchify; final layer, one item with tiny variance. */
export function pieces(file: GoldenFile): number {
  // Activation curves.
  {
    const x = file.tensor('gelu.x');
    expectClose(gelu(x, 'tanh'), file.host('gelu.tanh'), { abs: 1e-6 }, 'tanh');
    expectClose(gelu(x, 'erf'), file.host('gelu.erf'), { abs: 1e-6 }, 'erf');
    expectClose(silu(x), file.host('silu.out'), { abs: 1e-6 }, 'silu');
  }
  // Labels, kept and dropped.
  {
    const [{ num_classes: numClasses }] = records(file, 'label') as [Record<string, number>];
    const [weight, y] = [file.tensor('label.table'), file.tensor('label.y')];
    expectClose(embedClass({ weight }, y), file.host('label.out_eval'));
    const dropped = file.tensor('label.force_drop_ids');
    expectClose(embedClass({ weight }, dropLabels(y, dropped, numClasses!)), file.host('label.out_forced'));
    // Without dropout an official table has as many rows as there are classes, otherwise one more.
    const classes = file.host('label.rows_when_dropout_zero').data[0]!;
    expect(rows(classes, false)).toBe(classes);
    expect(rows(numClasses!, true)).toBe(weight.shape[0]);
  }
  // Patch embedding and unpatchify.
  {
    const p = { weight: file.tensor('patchify.w'), bias: file.tensor('patchify.b') };
    expectClose(embedPatches(p, nchwToNhwc(file.tensor('patchify.in'))), file.host('patchify.out'), { max: 1e-5 });
    const [{ grid, patch }] = records(file, 'unpatchify') as [Record<string, number>];
    const image = unpatchify(file.tensor('unpatchify.in'), { h: grid!, w: grid!, patchSize: patch! });
    expectClose(nhwcToNchw(image), file.host('unpatchify.out'));
  }
  // Final layer, one item with tiny variance.
  {
    const {
      in: inputs,
      out,
      ...params
    } = tree(file.tensors('final.')) as Record<string, Tree> & { in: { x: Tensor; c: Tensor }; out: Tensor };
    expectClose(ditFinalLayer(params as DiTFinalParams, inputs.x, silu(inputs.c)), out, { max: 1e-5 });
  }
  // Four pieces, whose tensors are asked for by name: one that is absent has thrown.
  return 4;
}
