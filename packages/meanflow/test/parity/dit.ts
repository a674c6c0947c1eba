import {
  applyDiT,
  ditBlock,
  ditCondition,
  ditFinalLayer,
  embedClass,
  embedPatches,
  embedTimestep,
  layerNorm,
  linear,
  mlp,
  modulate,
  multiHeadSelfAttention,
  silu,
  sinCosPositions,
  timestepEmbedding,
  ditConfig,
  type DiTConfig,
  type DiTParams,
} from '@atelier/nn';
import { parseConfig, type Tensor, tf } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import { ditFromFlax, ditToFlax, flowStep, meanFlowDiT, sampleMeanFlow, type AverageVelocity } from '../../src/index.ts';
import { casesWith, number, tensorsOf } from './cases.ts';

const close = { abs: 2e-5 };

/** Settings and parameters of the network of a file, from its own `config` and the file that its `weights` names. */
export function loadDiT(file: GoldenFile, all: Golden): { params: DiTParams; config: DiTConfig; network: AverageVelocity } {
  const settings = file.settings('config');
  const weights = all.load(file.metadata['weights'] ?? file.name);
  const config = parseConfig(
    ditConfig,
    {
      inChannels: number(settings, 'in_channels'),
      patchSize: number(settings, 'patch_size'),
      width: number(settings, 'hidden_size'),
      depth: number(settings, 'depth'),
      heads: number(settings, 'num_heads'),
      numClasses: weights.hasAny('net/y_embedder/') ? number(settings, 'num_classes') : 0,
      interval: true,
    },
    file.name,
  );
  const params = ditFromFlax(tensorsOf(weights), config);
  return { params, config, network: meanFlowDiT(params, config) };
}

/** The labels of a file; null labels if it has none, and nothing for a network without classes. */
export function labelsOf(file: GoldenFile, key: string, batch: number, { numClasses }: DiTConfig): Tensor | undefined {
  if (file.has(key)) return file.tensor(key);
  return numClasses > 0 ? tf.fill([batch], numClasses, 'int32') : undefined;
}

/** Every parameter has a known name and shape, and converting back to Flax gives the same file again. */
export function ditWeights(file: GoldenFile, all: Golden): number {
  const { params, config } = loadDiT(file, all);
  const back = ditToFlax(params, config);
  const keys = file.keys();
  for (const key of keys) expectClose(back[key]!, file.host(key), {}, key);
  return keys.length;
}

/** The output and every stage that the file holds. Each stage starts from the official output of the stage before it, if the file has that. */
export function ditForward(file: GoldenFile, all: Golden): number {
  const { params, config } = loadDiT(file, all);
  const [x, t, h] = [file.tensor('x'), file.tensor('t'), file.tensor('h')];
  const [batch, H, W] = x.shape as [number, number, number];
  const y = labelsOf(file, 'y', batch, config);
  const inputs = { t, h, ...(y && { y }) };
  const grid = [H / config.patchSize, W / config.patchSize] as const;
  const condition = silu(ditCondition(params, inputs, config, batch));
  const positions = sinCosPositions(...grid, config.width);
  const attend = (block: DiTParams['blocks'][number]) => (u: Tensor) => multiHeadSelfAttention(block.attn, u, config.heads);
  const halves = (block: DiTParams['blocks'][number]): Tensor[] =>
    tf.split(tf.expandDims(linear(block.adaLN_modulation[1], condition), 1), 6, 2);

  const stages: Record<string, Tensor> = {
    out: applyDiT(params, x, inputs, config),
    pos_embed: tf.reshape(positions, [-1, config.width]),
    timestep_freq_embedding: timestepEmbedding(t, config.frequencySize),
    'act.t_embedder': embedTimestep(params.t_embedder, t),
    'act.x_embedder': embedPatches(params.x_embedder.proj, x),
  };
  if ('h_embedder' in params) stages['act.h_embedder'] = embedTimestep(params.h_embedder, h);
  if ('y_embedder' in params && y) stages['act.y_embedder'] = embedClass(params.y_embedder.embedding_table, y);
  let tokens = tf.add(stages['act.x_embedder']!, positions);
  params.blocks.forEach((block, l) => {
    const [shift1, scale1, gate1, shift2, scale2] = halves(block);
    const attended = attend(block)(modulate(layerNorm(tokens, { eps: 1e-6 }), shift1!, scale1!));
    const mixed = tf.add(tokens, tf.mul(gate1!, attended));
    stages[`act.block${l}.attn`] = attended;
    stages[`act.block${l}.mlp`] = mlp(block.mlp, modulate(layerNorm(mixed, { eps: 1e-6 }), shift2!, scale2!), 'gelu-tanh');
    tokens = ditBlock(block, tokens, condition, attend(block));
    stages[`act.block${l}`] = tokens;
  });
  stages['act.final_layer'] = ditFinalLayer(params.final_layer, tokens, condition);

  const inputsOfFile = new Set(['x', 't', 'h', 'y']);
  const keys = file.keys().filter((key) => !inputsOfFile.has(key));
  for (const key of keys) {
    if (stages[key] === undefined) throw new Error(`${file.name}: wanted a stage of ours for '${key}', got none`);
    expectClose(stages[key], file.host(key), close, key);
  }
  return keys.length;
}

/** Samples along every grid of the file. A case without a grid used the official default grid [1, 0] with two steps. */
export function ditSample(file: GoldenFile, all: Golden): number {
  const { network, config } = loadDiT(file, all);
  const e = file.tensor('z1');
  const y = labelsOf(file, 'labels', e.shape[0]!, config);
  const cases = casesWith(file, 'out');
  for (const name of cases) {
    const out = tf.tidy(() => {
      if (file.has(`${name}.grid`))
        return sampleMeanFlow(network, e, { grid: Array.from(file.host(`${name}.grid`).data), ...(y && { y }) });
      // A trap in the official code: the second step reads past the end of the grid [1, 0], gets the time 0 again and so changes nothing.
      return flowStep(network, flowStep(network, e, 1, 0, y), 0, 0, y);
    });
    expectClose(out, file.host(`${name}.out`), close, `${name}.out`);
  }
  return cases.length;
}
