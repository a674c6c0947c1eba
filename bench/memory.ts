/**
 * `pnpm bench memory`: checks that nothing grows. It runs 10,000 compiled and 2,000 uncompiled training steps of a small DiT, and 10,000
 * uncompiled steps of a small classifier that resizes its images and makes its labels one-hot. Every thousand steps it prints the numbers
 * of tensors, sessions and native threads, and the resident memory. A row compares the resident memory after the first thousand steps with
 * the end.
 */
import { adamW, ditBlocks, initDiT, multiHeadSelfAttention, silu } from '@atelier/nn';
import { compile, disposeTree, Rng, tf, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import { nativeThreads, type OrtBackend } from '@atelier/backend-ort';
import { benchArguments, runBench } from './harness/arguments.ts';
import { machineDescription } from './harness/machine.ts';
import { report, type ReportRow } from './harness/report.ts';

const [B, T, D, heads, depth] = [8, 16, 32, 2, 2];
/** Number of steps between two printed lines. */
const LAP = 1000;
const LAPS = { compiled: 10, uncompiled: 2, resized: 10 };
/** Growth up to this share is accepted as no growth. */
const LEVEL = 0.01;

const rng = new Rng('bench memory');
const optimizer = adamW({ weightDecay: 0.01 });
const start = () => {
  const { blocks } = initDiT(rng.child('blocks'), { inChannels: 1, patchSize: 1, width: D, depth, heads });
  return { params: { blocks }, optimizer: optimizer.init({ blocks }) };
};
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

/** A training step, which disposes everything except the loss, and what to do at the end. */
interface Work {
  step(index: number, lap: number): Tensor;
  /** The number of its compiled graphs. */
  graphs(): number;
  dispose(): void;
}

function transformer(name: 'compiled' | 'uncompiled'): Work {
  const compiled = name === 'compiled' ? compile(trainStep, { donate: [0, 1, 2, 3, 4] }) : null;
  let state = start();
  return {
    step(index, lap) {
      const stream = rng.child(name).child(`${index}`);
      const inputs = [stream.normal([B, T, D]), stream.normal([B, D]), stream.normal([B, T, D]), tf.scalar(1e-3 / (1 + lap))] as const;
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
    },
    graphs: () => compiled?.graphs ?? 0,
    dispose() {
      disposeTree(state);
      compiled?.dispose();
    },
  };
}

/** Images [4, 8, 8, 3] -> [4, 20, 20, 3] -> one convolution -> ten classes. The learning rate changes at every step. */
function classifier(): Work {
  const stream = rng.child('resized');
  let params = { filter: stream.child('filter').normal([3, 3, 3, 4]), weight: stream.child('weight').normal([4, 10]) };
  return {
    step(index) {
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
    },
    graphs: () => 0,
    dispose: () => disposeTree(params),
  };
}

type Lap = { tensors: number; sessions: number; threads: number; resident: number };

function runLaps(name: keyof typeof LAPS): Lap[] {
  const backend = tf.backend() as OrtBackend;
  const work = name === 'resized' ? classifier() : transformer(name);
  const laps: Lap[] = [];
  const columns = (first: string, ...rest: string[]): string => first.padEnd(12) + rest.map((one) => one.padStart(12)).join('');
  console.log(`\n${columns(name, 'steps', 'tensors', 'sessions', 'threads', 'resident')}`);
  for (let lap = 1; lap <= LAPS[name]; lap++) {
    for (let i = 0; i < LAP; i++) {
      const loss = work.step((lap - 1) * LAP + i, lap);
      if (!Number.isFinite(loss.dataSync()[0]!))
        throw new Error(`bench memory: wanted a finite loss, got another one at ${name} step ${(lap - 1) * LAP + i}`);
      loss.dispose();
    }
    globalThis.gc?.();
    const { numTensors: tensors } = tf.memory();
    const sessions = backend.sessions.size + work.graphs();
    const now = { tensors, sessions, threads: nativeThreads() ?? 0, resident: process.memoryUsage.rss() };
    laps.push(now);
    console.log(
      columns('', ...[lap * LAP, now.tensors, now.sessions, now.threads].map(String), `${(now.resident / 2 ** 20).toFixed(1)} MiB`),
    );
  }
  work.dispose();
  return laps;
}

await runBench(async () => {
  const names = Object.keys(LAPS) as (keyof typeof LAPS)[];
  const args = benchArguments(process.argv.slice(2), names, 'memory');
  console.log(machineDescription());
  await useEngine('ort');
  const rows: ReportRow[] = [];
  for (const name of names) {
    if (args.only !== undefined && args.only !== name) continue;
    const laps = runLaps(name);
    const [first, last] = [laps[0]!, laps.at(-1)!];
    for (const count of ['tensors', 'sessions', 'threads'] as const)
      if (last[count] !== first[count])
        throw new Error(`bench memory: ${name}: ${count}: wanted ${first[count]} as after the first ${LAP} steps, got ${last[count]}`);
    const [a, b] = [last, first].map(({ resident }) => `${(resident / 2 ** 20).toFixed(1)} MiB`);
    rows.push({ name, peer: `itself after ${LAP} steps`, ratio: first.resident / last.resident, bound: 1 - LEVEL, ours: a!, theirs: b! });
  }
  report(rows, args.json);
});
