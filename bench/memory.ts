/**
 * `pnpm bench memory`: does anything grow? Ten thousand compiled training steps of a small DiT and two thousand uncompiled ones; every
 * thousand steps the number of tensors, of sessions, and resident memory. A row compares resident memory after the first thousand with the end.
 */
import { adamW, ditBlocks, initDiT, multiHeadSelfAttention, silu } from '@atelier/nn';
import { compile, disposeTree, Rng, tf, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import type { OrtBackend } from '@atelier/backend-ort';
import { benchArguments, runBench } from './harness/arguments.ts';
import { machineDescription } from './harness/machine.ts';
import { report, type ReportRow } from './harness/report.ts';

const [B, T, D, heads, depth] = [8, 16, 32, 2, 2];
/** A lap is what stands between two printed lines. */
const LAP = 1000;
const LAPS = { compiled: 10, uncompiled: 2 };
/** Growth that counts as none. */
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

type Lap = { tensors: number; sessions: number; resident: number };

function runLaps(name: keyof typeof LAPS): Lap[] {
  const backend = tf.backend() as OrtBackend;
  const compiled = name === 'compiled' ? compile(trainStep, { donate: [0, 1, 2, 3, 4] }) : null;
  let state = start();
  const laps: Lap[] = [];
  console.log(
    `\n${name}${'steps'.padStart(20 - name.length)}${'tensors'.padStart(10)}${'sessions'.padStart(10)}${'resident'.padStart(14)}`,
  );
  for (let lap = 1; lap <= LAPS[name]; lap++) {
    for (let i = 0; i < LAP; i++) {
      const stream = rng.child(name).child(`${(lap - 1) * LAP + i}`);
      const inputs = [stream.normal([B, T, D]), stream.normal([B, D]), stream.normal([B, T, D]), tf.scalar(1e-3 / (1 + lap))] as const;
      const before = state;
      const out = compiled
        ? compiled(state, ...inputs)
        : (tf.tidy(() => trainStep(state, ...inputs) as never) as ReturnType<typeof trainStep>);
      if (!Number.isFinite(out.loss.dataSync()[0]!))
        throw new Error(`bench memory: wanted a finite loss, got one that is not at ${name} step ${i}`);
      out.loss.dispose();
      if (!compiled) {
        disposeTree(before);
        disposeTree([...inputs]);
      }
      state = out.state;
    }
    globalThis.gc?.();
    const now = {
      tensors: tf.memory().numTensors,
      sessions: backend.sessions.size + (compiled?.graphs ?? 0),
      resident: process.memoryUsage.rss(),
    };
    laps.push(now);
    console.log(
      `${String(lap * LAP).padStart(20)}${String(now.tensors).padStart(10)}${String(now.sessions).padStart(10)}${`${(now.resident / 2 ** 20).toFixed(1)} MiB`.padStart(14)}`,
    );
  }
  disposeTree(state);
  compiled?.dispose();
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
    for (const count of ['tensors', 'sessions'] as const)
      if (last[count] !== first[count])
        throw new Error(`bench memory: ${name}: ${count}: wanted ${first[count]} as after the first ${LAP} steps, got ${last[count]}`);
    const [a, b] = [last, first].map(({ resident }) => `${(resident / 2 ** 20).toFixed(1)} MiB`);
    rows.push({ name, peer: `itself after ${LAP} steps`, ratio: first.resident / last.resident, bound: 1 - LEVEL, ours: a!, theirs: b! });
  }
  report(rows, args.json);
});
