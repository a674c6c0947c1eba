import { adamW, ditBlocks, initDiT, multiHeadSelfAttention, silu } from '@atelier/nn';
import { compile, disposeTree, Rng, tf, valueAndGrad, type Tensor } from '@atelier/tensor';
import type { RepeatedWork } from '../../harness/laps.ts';
import { repeated, type Repetition } from './repeated.ts';

const [B, T, D, heads, depth] = [8, 16, 32, 2, 2];
const optimizer = adamW({ weightDecay: 0.01 });

function start(rng: Rng) {
  const { blocks } = initDiT(rng.child('blocks'), { inChannels: 1, patchSize: 1, width: D, depth, heads });
  return { params: { blocks }, optimizer: optimizer.init({ blocks }) };
}
type State = ReturnType<typeof start>;

function trainStep(state: State, x: Tensor, c: Tensor, target: Tensor, rate: Tensor): { state: State; loss: Tensor } {
  const objective = ({ blocks }: State['params']): { loss: Tensor; aux: Record<string, Tensor> } => {
    const y = ditBlocks(blocks, x, silu(c), (block, u) => multiHeadSelfAttention(block.attn, u, heads));
    return { loss: tf.mean(tf.square(tf.sub(y, target))), aux: {} };
  };
  const { loss, grads } = valueAndGrad(objective, state.params);
  const next = optimizer.update(grads, state.optimizer, state.params, rate);
  return { state: { params: next.params, optimizer: next.state }, loss };
}

/** A training step of transformer blocks. The learning rate changes every thousand steps. */
function transformer(name: 'compiled' | 'uncompiled'): Repetition {
  const rng = new Rng('memory transformer');
  const compiled = name === 'compiled' ? compile(trainStep, { donate: [0, 1, 2, 3, 4] }) : null;
  let state = start(rng);
  return (index) => {
    const stream = rng.child(index);
    const rate = tf.scalar(1e-3 / (1 + Math.floor(index / 1000)));
    const inputs = [stream.normal([B, T, D]), stream.normal([B, D]), stream.normal([B, T, D]), rate] as const;
    const before = state;
    const out = compiled
      ? compiled(state, ...inputs)
      : (tf.tidy(() => trainStep(state, ...inputs) as never) as ReturnType<typeof trainStep>);
    if (!compiled) {
      disposeTree(before);
      disposeTree([...inputs]);
    }
    state = out.state;
    return out.loss;
  };
}

/** Uncompiled: images [4, 8, 8, 3] -> [4, 20, 20, 3] -> one convolution -> ten classes. The learning rate changes at every step. */
function classifier(): Repetition {
  const stream = new Rng('memory classifier');
  let params = { filter: stream.child('filter').normal([3, 3, 3, 4]), weight: stream.child('weight').normal([4, 10]) };
  return (index) => {
    const before = params;
    const out = tf.tidy(() => {
      const images = stream.child(`${index}`).normal([4, 8, 8, 3]);
      const labels = tf.oneHot(tf.tensor1d([index % 10, 3, (index * 7) % 10, 0], 'int32'), 10);
      const { loss, grads } = valueAndGrad((p: typeof params) => {
        const large = tf.image.resizeBilinear(images as never, [20, 20]);
        const features = tf.mean(tf.relu(tf.conv2d(large as never, p.filter as never, 2, 'same')), [1, 2]);
        const likelihood = tf.logSoftmax(tf.matMul(features as never, p.weight as never));
        return { loss: tf.neg(tf.mean(tf.sum(tf.mul(likelihood, labels), 1))), aux: {} };
      }, before);
      const rate = 0.1 / (1 + index / 100);
      const moved = (key: keyof typeof params): Tensor => tf.sub(before[key], tf.mul(grads[key], rate));
      return { loss, filter: moved('filter'), weight: moved('weight') };
    });
    disposeTree(before);
    params = { filter: out.filter, weight: out.weight };
    return out.loss;
  };
}

const steps = (make: () => Repetition, total = 10_000): RepeatedWork => repeated('steps', total, make);

/** Works of no paper: the engine with and without `compile`. */
export const programs = {
  transformer: steps(() => transformer('compiled')),
  'transformer-uncompiled': steps(() => transformer('uncompiled'), 2000),
  'classifier-uncompiled': steps(classifier),
};
