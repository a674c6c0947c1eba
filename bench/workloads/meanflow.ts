import {
  type AverageVelocity,
  initMeanFlowDiT,
  initPointNetwork,
  meanFlowDiT,
  meanFlowLoss,
  movingRows,
  pointNetwork,
  type PointNetworkParams,
  type TimeDraws,
  type TimeSamplerConfig,
  timesFromDraws,
} from '@atelier/meanflow';
import { type WeightConfig } from '@atelier/diffusion';
import { adamW, ditConfig, emaUpdate, type AdamState, type DiTParams } from '@atelier/nn';
import { compile, disposeTree, parseConfig, Rng, type Tensor, tf, toHostTree, type Tree, valueAndGrad } from '@atelier/tensor';
import type { Work } from '../harness/work.ts';
import { copyOf, moved, sumOfSquares } from './trees.ts';

/** Number of rows of random data from which batches are drawn. The values do not matter for the time. */
const POOL = 4096;
const CHECK_STEPS = 3;
const CLASSES = 4;
const CLASS_DROP = 0.1;
const LEARNING_RATE = 1e-3;
const DECAY = 0.999;
const BETAS = { b1: 0.9, b2: 0.95 };

type Params = DiTParams | PointNetworkParams;
type State = { params: Params; optimizer: AdamState; average: Params };
/** x and e are [B, …]. a and b [B] are the draws for the two times. y [B] are labels, for a network with classes. */
type Batch = { x: Tensor; e: Tensor; a: Tensor; b: Tensor; y?: Tensor };

/** One of the two networks, with its data and training settings. */
type Setting = {
  batch: number;
  /** Shape of one sample. */
  sample: number[];
  weight: WeightConfig;
  sampler: TimeSamplerConfig & { rule: 'prefix' };
  classes: boolean;
  init: (rng: Rng) => Params;
  network: (params: Params) => AverageVelocity;
  /** The settings of the network for the peer. */
  peer: object;
};

const logitNormal = { kind: 'logit-normal', mean: -0.4, std: 1 } as const;
const sampler = { rule: 'prefix', t: logitNormal, r: logitNormal, equalShare: 0.5 } as const;
const dit = parseConfig(
  ditConfig,
  { inChannels: 1, patchSize: 2, width: 64, depth: 3, heads: 4, numClasses: CLASSES, interval: true },
  'bench meanflow',
);

const settings = {
  /** 8 × 8 × 1 images of four classes, 274,500 parameters. */
  dit: {
    batch: 64,
    sample: [8, 8, 1],
    weight: { p: 1, c: 0.01 },
    sampler,
    classes: true,
    init: (rng) => initMeanFlowDiT(rng, dit),
    network: (params) => meanFlowDiT(params as DiTParams, dit),
    peer: { dit: { size: 8, patch: 2, channels: 1, width: 64, heads: 4 } },
  },
  /** Points in the plane, three hidden layers of 128. */
  mlp: {
    batch: 512,
    sample: [2],
    weight: { p: 0, c: 0 },
    sampler,
    classes: false,
    init: (rng) => initPointNetwork(rng, { dimension: 2 }),
    network: (params) => pointNetwork(params as PointNetworkParams),
    peer: {},
  },
} as const satisfies Record<string, Setting>;

/**
 * The compiled training step of one network, with everything that a step needs: draw a batch on the host, train, read the mean of the
 * squared errors S. Its check numbers are the means of S in the first steps on one batch, and Σ average² after them.
 */
export function meanFlowWork(name: keyof typeof settings): Work {
  const setting: Setting = settings[name];
  const { batch: B, sample } = setting;
  const size = sample.reduce((a, b) => a * b, 1);
  const rng = new Rng('bench meanflow').child(name);
  const optimizer = adamW(BETAS);
  // At the official start, the output of the network is 0, which would hide most mistakes. So noise is added to every weight.
  const start = tf.tidy(() => moved(setting.init(rng.child('init')), rng, 0.05));
  const poolX = rng.child('pool').normals(POOL * size);
  const poolY = rng.child('labels').integers(POOL, 0, CLASSES);
  const moving = movingRows(setting.sampler, B);

  const train = compile(
    (state: State, { x, e, a, b, y }: Batch, rates: { learningRate: Tensor; decay: Tensor }) => {
      const times = timesFromDraws({ t: a, r: b } satisfies TimeDraws, setting.sampler);
      const { aux, grads } = valueAndGrad((params: Params) => {
        const { loss, squaredError } = meanFlowLoss(
          setting.network(params),
          { x, e, ...times, ...(y && { y }) },
          { ...setting.weight, ...(moving && { movingRows: moving }) },
        );
        return { loss, aux: { squaredError: tf.mean(squaredError) } };
      }, state.params);
      const { params, state: next } = optimizer.update(grads, state.optimizer, state.params, rates.learningRate);
      return { state: { params, optimizer: next, average: emaUpdate(state.average, params, rates.decay) }, ...aux };
    },
    { donate: [0, 1, 2], name: `meanflow-${name}` },
  );

  const fresh = (): State => ({ params: copyOf(start), optimizer: optimizer.init(start), average: copyOf(start) });
  const advance = (state: State, batch: Batch): { state: State; squaredError: number } => {
    const out = train(state, batch, { learningRate: tf.scalar(LEARNING_RATE), decay: tf.scalar(DECAY) });
    const squaredError = out.squaredError.dataSync()[0]!;
    out.squaredError.dispose();
    return { state: out.state as State, squaredError };
  };
  const draw = (from: Rng): Batch => {
    const rows = from.integers(B, 0, POOL);
    const x = new Float32Array(B * size);
    for (let i = 0; i < B; i++) x.set(poolX.subarray(rows[i]! * size, (rows[i]! + 1) * size), i * size);
    const batch: Batch = { x: tf.tensor(x, [B, ...sample]), e: from.normal([B, ...sample]), a: from.normal([B]), b: from.normal([B]) };
    if (!setting.classes) return batch;
    const dropped = from.uniforms(B);
    const labels = Int32Array.from(rows, (row, i) => (dropped[i]! < CLASS_DROP ? CLASSES : poolY[row]!));
    return { ...batch, y: tf.tensor1d(labels, 'int32') };
  };

  const draws = rng.child('draws');
  let running: State | undefined;
  return {
    step: () => {
      const { state, squaredError } = advance(running ?? fresh(), draw(draws));
      running = state;
      if (!Number.isFinite(squaredError)) throw new Error(`bench meanflow: wanted finite squared errors, got ${squaredError}`);
    },
    check: async () => {
      let state = fresh();
      const figures: number[] = [];
      for (let i = 0; i < CHECK_STEPS; i++) {
        const out = advance(state, draw(rng.child('check')));
        state = out.state;
        figures.push(out.squaredError);
      }
      figures.push(await sumOfSquares(state.average));
      disposeTree(state);
      return figures;
    },
    tensors: async () => {
      const batch = draw(rng.child('check'));
      const host = await toHostTree({ params: start, check: batch } as Tree);
      disposeTree(batch as Tree);
      host['pool.x'] = { dtype: 'float32', shape: [POOL, ...sample], data: poolX };
      if (setting.classes) host['pool.y'] = { dtype: 'int32', shape: [POOL], data: poolY };
      return host;
    },
    peerConfig: {
      ...setting.peer,
      batch: B,
      equal_rows: moving?.[0] ?? 0,
      classes: CLASSES,
      class_drop: CLASS_DROP,
      time_mean: logitNormal.mean,
      time_std: logitNormal.std,
      ...setting.weight,
      ...BETAS,
      lr: LEARNING_RATE,
      decay: DECAY,
    },
  };
}
