import { initPointNetwork, type PointNetworkParams } from '@atelier/meanflow';
import { adamW, attention, ditBlocks, initDiT, linear, multiHeadSelfAttention, silu } from '@atelier/nn';
import type { AdamState, DiTBlockParams, LinearParams } from '@atelier/nn';
import { compile, disposeTree, jvp, Rng, tf, toHostTree, valueAndGrad, vjp } from '@atelier/tensor';
import type { Tensor, Tree } from '@atelier/tensor';
import type { Work } from '../harness/work.ts';
import { copyOf, moved } from './trees.ts';

/** A task, and the floating-point operations of its matrix products: two for each multiply-add. */
export type EngineWork = Work & { flops: number };

/** Batch, tokens, width, heads and depth of a stack of DiT blocks. */
export type Blocks = readonly [B: number, T: number, D: number, K: number, depth: number];

const CHECK_STEPS = 3;
const ADAM = { b1: 0.9, b2: 0.999 };
const WEIGHT_DECAY = 0.01;
const LEARNING_RATE = 1e-3;

type Inputs = Record<string, Tensor>;

/** A training step on a fixed batch: loss, gradients and AdamW as one compiled function. The loss is read. */
export function trainingWork<P extends Tree>(
  start: P,
  inputs: Inputs,
  loss: (params: P, inputs: Inputs) => Tensor,
  peer: { kind: string; heads?: number },
  flops: number,
): EngineWork {
  const optimizer = adamW({ ...ADAM, weightDecay: WEIGHT_DECAY });
  type State = { params: P; optimizer: AdamState };
  const train = compile(
    (state: State, batch: Inputs, learningRate: Tensor) => {
      const { loss: value, grads } = valueAndGrad((params: P) => ({ loss: loss(params, batch), aux: {} }), state.params);
      const { params, state: next } = optimizer.update(grads, state.optimizer, state.params, learningRate);
      return { state: { params, optimizer: next } as State, loss: value };
    },
    { donate: [0, 2], name: peer.kind },
  );
  const fresh = (): State => ({ params: copyOf(start), optimizer: optimizer.init(start) });
  const advance = (state: State): { state: State; loss: number } => {
    const out = train(state, inputs, tf.scalar(LEARNING_RATE));
    const value = out.loss.dataSync()[0]!;
    out.loss.dispose();
    return { state: out.state as State, loss: value };
  };
  let running: State | undefined;
  return {
    flops: 3 * flops,
    step: () => {
      const { state, loss: value } = advance(running ?? fresh());
      running = state;
      if (!Number.isFinite(value)) throw new Error(`${peer.kind}: wanted a finite loss, got ${value}`);
    },
    check: async () => {
      const figures: number[] = [];
      let state = fresh();
      for (let i = 0; i < CHECK_STEPS; i++) {
        const out = advance(state);
        state = out.state;
        figures.push(out.loss);
      }
      const last = await sumsOfSquares(state.params);
      disposeTree(state);
      return [...figures, last.reduce((a, b) => a + b, 0)];
    },
    tensors: () => toHostTree({ params: start, inputs }),
    peerConfig: { ...peer, ...ADAM, lr: LEARNING_RATE, weight_decay: WEIGHT_DECAY },
  };
}

/** A compiled function of fixed parameters and inputs. When it returns, its results are in memory. Neither side copies them. */
export function callWork<P extends Tree>(
  params: P,
  inputs: Inputs,
  call: (params: P, inputs: Inputs) => Tensor[],
  peer: { kind: string } & Record<string, unknown>,
  flops: number,
): EngineWork {
  const compiled = compile((p: P, x: Inputs) => call(p, x), { name: peer.kind });
  return {
    flops,
    step: () => {
      disposeTree(compiled(params, inputs));
    },
    check: async () => {
      const out = compiled(params, inputs);
      const figures = await sumsOfSquares(out);
      disposeTree(out);
      return figures;
    },
    tensors: () => toHostTree({ params, inputs }),
    peerConfig: peer,
  };
}

async function sumsOfSquares(tree: Tree): Promise<number[]> {
  const leaves = Object.values(await toHostTree(tree));
  return leaves.map(({ data }) => (data as Float32Array).reduce((sum, value) => sum + value * value, 0));
}

const rng = new Rng('bench engine');

/** Weights of DiT blocks, plus noise, because the gates of the official start are 0. */
function blockParams([, , D, K, depth]: Blocks): { blocks: DiTBlockParams[] } {
  const { blocks } = initDiT(rng.child('blocks'), { inChannels: 1, patchSize: 1, width: D, depth, heads: K });
  return { blocks: offZero(blocks) };
}

const offZero = <T extends Tree>(tree: T): T => moved(tree, rng, 0.05);

/** Runs the blocks on tokens x [B, T, D] with the condition c [B, D]. */
function runBlocks({ blocks }: { blocks: DiTBlockParams[] }, x: Tensor, c: Tensor, heads: number): Tensor {
  const condition = silu(c);
  return ditBlocks(blocks, x, condition, (block, u) => multiHeadSelfAttention(block.attn, u, heads));
}

/** Operations of a forward pass, in linear layers and in the two products of attention. */
function blockFlops([B, T, D, , depth]: Blocks): { linear: number; attention: number } {
  return { linear: depth * (B * T * 24 * D * D + B * 12 * D * D), attention: depth * B * T * 4 * T * D };
}

const draw = (shapes: Record<string, readonly number[]>): Inputs =>
  Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, rng.child(name).normal(shape)]));

/** Forward pass, backward pass and AdamW of DiT blocks with a target. */
export function blocksStep(size: Blocks): EngineWork {
  const [B, T, D, heads] = size;
  const { linear: linears, attention: products } = blockFlops(size);
  const loss = (params: { blocks: DiTBlockParams[] }, { x, c, target }: Inputs): Tensor =>
    tf.mean(tf.square(tf.sub(runBlocks(params, x!, c!, heads), target!)));
  const inputs = draw({ x: [B, T, D], c: [B, D], target: [B, T, D] });
  return trainingWork(blockParams(size), inputs, loss, { kind: 'blocks-step', heads }, linears + products);
}

export function blocksForward(size: Blocks): EngineWork {
  const [B, T, D, heads] = size;
  const { linear: linears, attention: products } = blockFlops(size);
  const call = (params: { blocks: DiTBlockParams[] }, { x, c }: Inputs): Tensor[] => [runBlocks(params, x!, c!, heads)];
  return callWork(blockParams(size), draw({ x: [B, T, D], c: [B, D] }), call, { kind: 'blocks-forward', heads }, linears + products);
}

/** Value of DiT blocks, and its directional derivative with respect to tokens and condition. */
export function blocksJvp(size: Blocks): EngineWork {
  const [B, T, D, heads] = size;
  const { linear: linears, attention: products } = blockFlops(size);
  const call = (params: { blocks: DiTBlockParams[] }, { x, c, dx, dc }: Inputs): Tensor[] => {
    const { value, tangent } = jvp((tokens, condition) => runBlocks(params, tokens!, condition!, heads), [x!, c!], [dx!, dc!]);
    return [value, tangent];
  };
  const inputs = draw({ x: [B, T, D], c: [B, D], dx: [B, T, D], dc: [B, D] });
  return callWork(blockParams(size), inputs, call, { kind: 'blocks-jvp', heads }, 2 * linears + 3 * products);
}

/** Forward pass, backward pass and AdamW of an MLP 4-128-128-128-2 with SiLU and a target. */
export function mlpStep(B: number): EngineWork {
  const start = offZero(initPointNetwork(rng.child('mlp'), { dimension: 2 }));
  const loss = ({ layers }: PointNetworkParams, { x, target }: Inputs): Tensor => {
    const out = layers.reduce((a: Tensor, layer: LinearParams, i) => linear(layer, i === 0 ? a : silu(a)), x!);
    return tf.mean(tf.square(tf.sub(out, target!)));
  };
  const flops = 2 * B * (4 * 128 + 2 * 128 * 128 + 128 * 2);
  return trainingWork(start, draw({ x: [B, 4], target: [B, 2] }), loss, { kind: 'mlp-step' }, flops);
}

/** Forward pass of dense attention of q, k, v [B, K, T, d]. */
export function attentionForward(shape: readonly [B: number, K: number, T: number, d: number]): EngineWork {
  const [B, K, T, d] = shape;
  const inputs = draw({ q: shape, k: shape, v: shape });
  return callWork({}, inputs, (_, { q, k, v }) => [attention(q!, k!, v!)], { kind: 'attention' }, 4 * B * K * T * T * d);
}

/** Dense attention with its gradients: two products forward, four backward. */
export function attentionGradient(shape: readonly [B: number, K: number, T: number, d: number]): EngineWork {
  const [B, K, T, d] = shape;
  const call = (_: Tree, { q, k, v, w }: Inputs): Tensor[] => {
    const { value, grads } = vjp((...x) => attention(x[0]!, x[1]!, x[2]!), [q!, k!, v!], w!);
    return [value, ...grads];
  };
  return callWork({}, draw({ q: shape, k: shape, v: shape, w: shape }), call, { kind: 'attention-grad' }, 12 * B * K * T * T * d);
}

/** A product of two n × n matrices. The speed of all other tasks is compared with it. */
export function product(n: number): EngineWork {
  return callWork(
    {},
    draw({ a: [n, n], b: [n, n] }),
    (_, { a, b }) => [tf.matMul(a as never, b as never)],
    { kind: 'product' },
    2 * n ** 3,
  );
}

const FIRST = [32, 64, 192, 3, 6] as const;
const SECOND = [16, 256, 256, 4, 4] as const;
const TINY = [8, 16, 32, 2, 2] as const;
const LONG = [1, 4, 4096, 64] as const;
const SHORT = [16, 4, 256, 64] as const;

/** All tasks of the bench, by the name of their row. */
export const engineWorks = {
  'matmul-1024': () => product(1024),
  'step-32x64x192x3x6': () => blocksStep(FIRST),
  'step-16x256x256x4x4': () => blocksStep(SECOND),
  'step-8x16x32x2x2': () => blocksStep(TINY),
  'step-mlp-512': () => mlpStep(512),
  'forward-32x64x192x3x6': () => blocksForward(FIRST),
  'forward-16x256x256x4x4': () => blocksForward(SECOND),
  'jvp-32x64x192x3x6': () => blocksJvp(FIRST),
  'attention-4x4096x64': () => attentionForward(LONG),
  'attention-64x256x64': () => attentionForward(SHORT),
  'attention-grad-4x4096x64': () => attentionGradient(LONG),
  'attention-grad-64x256x64': () => attentionGradient(SHORT),
} as const satisfies Record<string, () => EngineWork>;

export type EngineWorkName = keyof typeof engineWorks;
