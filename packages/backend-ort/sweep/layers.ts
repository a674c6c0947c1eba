import { tf } from '../src/tf.ts';
import type { Tensor } from './table.ts';

/** Layers of `tf.layers`, each in a model of its own, with the shapes of its inputs (without the batch). */

export interface LayerCase {
  name: string;
  shapes: readonly (readonly number[])[];
  layer: () => { apply(x: tf.SymbolicTensor | tf.SymbolicTensor[]): unknown };
  /** Inputs are whole numbers below this. */
  below?: number;
  /** The layer is called without a model, because TensorFlow.js knows a wrong shape of its result. */
  alone?: true;
}

/** Layers whose gradient is wrong on `cpu`: it takes the gradients of another image of the batch. */
const WITHOUT_GRADIENT = new Set(['upSampling2d']);

/** Layers that take long and resemble others. The tests leave them out; `pnpm --filter @atelier/backend-ort sweep` does not. */
export const LONG = new Set(['gru', 'lstm', 'rnn of two cells', 'masking before a lstm', 'embedding with a mask before a gru']);

type Make = LayerCase['layer'];
const { layers } = tf;
const on = (shape: readonly number[], table: Record<string, Make>): LayerCase[] =>
  Object.entries(table).map(([name, layer]) => ({ name, shapes: [shape], layer }));
const onPairs = (shape: readonly number[], table: Record<string, Make>): LayerCase[] =>
  Object.entries(table).map(([name, layer]) => ({ name, shapes: [shape, shape], layer }));

const ROW = [6];
const SEQUENCE = [4, 3];
const IMAGE = [6, 5, 4];
const VOLUME = [3, 4, 3, 2];

const rows = on(ROW, {
  dense: () => layers.dense({ units: 5, activation: 'tanh' }),
  'dense, regularized': () => layers.dense({ units: 5, kernelRegularizer: 'l1l2', biasConstraint: 'nonNeg' }),
  elu: () => layers.elu(),
  reLU: () => layers.reLU({ maxValue: 1 }),
  leakyReLU: () => layers.leakyReLU({ alpha: 0.2 }),
  prelu: () => layers.prelu({ alphaInitializer: 'ones' }),
  softmax: () => layers.softmax(),
  thresholdedReLU: () => layers.thresholdedReLU({ theta: 0.3 }),
  repeatVector: () => layers.repeatVector({ n: 3 }),
  reshape: () => layers.reshape({ targetShape: [3, 2] }),
  batchNormalization: () => layers.batchNormalization(),
  layerNormalization: () => layers.layerNormalization(),
  dropout: () => layers.dropout({ rate: 0.4, seed: 3 }),
  rescaling: () => layers.rescaling({ scale: 2, offset: -1 }) as never,
  ...Object.fromEntries(
    (['elu', 'hardSigmoid', 'linear', 'relu', 'relu6', 'selu', 'sigmoid', 'softmax', 'softplus', 'softsign', 'tanh', 'swish', 'mish'] as const).map((activation) => [`activation ${activation}`, () => layers.activation({ activation })]), // prettier-ignore
  ),
});

const sequences = on(SEQUENCE, {
  conv1d: () => layers.conv1d({ filters: 3, kernelSize: 3, padding: 'same', activation: 'relu' }),
  averagePooling1d: () => layers.averagePooling1d({ poolSize: 2 }),
  maxPooling1d: () => layers.maxPooling1d({ poolSize: 3, strides: 2, padding: 'same' }),
  globalAveragePooling1d: () => layers.globalAveragePooling1d({}),
  globalMaxPooling1d: () => layers.globalMaxPooling1d({}),
  flatten: () => layers.flatten(),
  permute: () => layers.permute({ dims: [2, 1] }),
  spatialDropout1d: () => layers.spatialDropout1d({ rate: 0.4, seed: 5 }),
  simpleRNN: () => layers.simpleRNN({ units: 3, recurrentInitializer: 'zeros' }),
  gru: () => layers.gru({ units: 3, recurrentInitializer: 'zeros' }),
  'gru, all states': () => layers.gru({ units: 3, recurrentInitializer: 'zeros', returnSequences: true, goBackwards: true }),
  lstm: () => layers.lstm({ units: 3, recurrentInitializer: 'zeros' }),
  'lstm, all states': () => layers.lstm({ units: 3, recurrentInitializer: 'zeros', returnSequences: true }),
  'rnn of two cells': () => layers.rnn({ cell: [layers.lstmCell({ units: 3, recurrentInitializer: 'zeros' }), layers.gruCell({ units: 2, recurrentInitializer: 'zeros' })] }) as never, // prettier-ignore
  bidirectional: () => layers.bidirectional({ layer: layers.lstm({ units: 3, recurrentInitializer: 'zeros' }) as never, mergeMode: 'concat' }), // prettier-ignore
  timeDistributed: () => layers.timeDistributed({ layer: layers.dense({ units: 3 }) }),
  'masking before a lstm': () => {
    const [mask, lstm] = [layers.masking({ maskValue: 0 }), layers.lstm({ units: 3, recurrentInitializer: 'zeros' })];
    return { apply: (x) => lstm.apply(mask.apply(x as tf.SymbolicTensor) as tf.SymbolicTensor) };
  },
});

const images = on(IMAGE, {
  conv2d: () => layers.conv2d({ filters: 3, kernelSize: 3, strides: 2, padding: 'same', activation: 'relu' }),
  'conv2d, channels first': () => layers.conv2d({ filters: 3, kernelSize: 2, dataFormat: 'channelsFirst' }),
  conv2dTranspose: () => layers.conv2dTranspose({ filters: 3, kernelSize: 3, strides: 2, padding: 'same' }),
  separableConv2d: () => layers.separableConv2d({ filters: 3, kernelSize: 3, depthMultiplier: 2 }),
  depthwiseConv2d: () => layers.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 2 }),
  cropping2D: () => layers.cropping2D({ cropping: [[1, 2], [1, 0]] }), // prettier-ignore

  zeroPadding2d: () => layers.zeroPadding2d({ padding: [[1, 2], [0, 1]] }), // prettier-ignore
  upSampling2d: () => layers.upSampling2d({ size: [2, 3] }),
  averagePooling2d: () => layers.averagePooling2d({ poolSize: 2 }),
  maxPooling2d: () => layers.maxPooling2d({ poolSize: 2, strides: 1, padding: 'same' }),
  globalAveragePooling2d: () => layers.globalAveragePooling2d({}),
  globalMaxPooling2d: () => layers.globalMaxPooling2d({}),
  'batchNormalization of images': () => layers.batchNormalization(),
});

const volumes = [
  ...on(VOLUME, {
    conv3d: () => layers.conv3d({ filters: 3, kernelSize: 2 }),
    conv3dTranspose: () => layers.conv3dTranspose({ filters: 3, kernelSize: 2, strides: 2 }),
    averagePooling3d: () => layers.averagePooling3d({ poolSize: 2 }),
    maxPooling3d: () => layers.maxPooling3d({ poolSize: 2 }),
  }),
  ...on([2, 4, 5, 2], {
    convLstm2d: () => layers.convLstm2d({ filters: 2, kernelSize: 3, padding: 'same', recurrentInitializer: 'zeros' }) as never,
  }),
];

const pairs = [
  ...onPairs(ROW, {
    add: () => layers.add(),
    average: () => layers.average(),
    concatenate: () => layers.concatenate(),
    maximum: () => layers.maximum(),
    minimum: () => layers.minimum(),
    multiply: () => layers.multiply(),
    dot: () => layers.dot({ axes: -1, normalize: true }),
  }),
];

const numbers: LayerCase[] = [
  { name: 'embedding', shapes: [[5]], below: 8, layer: () => layers.embedding({ inputDim: 8, outputDim: 3 }) },
  { name: 'embedding with a mask before a gru', shapes: [[5]], below: 4, layer: () => {
    const [embed, gru] = [layers.embedding({ inputDim: 8, outputDim: 3, maskZero: true }), layers.gru({ units: 3, recurrentInitializer: 'zeros' })];
    return { apply: (x) => gru.apply(embed.apply(x as tf.SymbolicTensor) as tf.SymbolicTensor) };
  } }, // prettier-ignore
  { name: 'categoryEncoding', shapes: [[3]], below: 4, alone: true, layer: () => layers.categoryEncoding({ numTokens: 4, outputMode: 'multiHot' }) as never }, // prettier-ignore
  { name: 'centerCrop', shapes: [IMAGE], alone: true, layer: () => layers.centerCrop({ height: 3, width: 3 }) as never },
  { name: 'resizing', shapes: [IMAGE], alone: true, layer: () => layers.resizing({ height: 4, width: 7 }) as never },
];

export const layerCases: readonly LayerCase[] = [...rows, ...sequences, ...images, ...volumes, ...pairs, ...numbers];

const BATCH = 3;

/** Numbers without a pattern in [-1, 1). */
const mixed = (i: number, salt: number): number =>
  (Math.imul(Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(salt + 1, 0x85ebca6b), 0xc2b2ae35) >>> 0) / 2 ** 31 - 1;
const filled = (shape: readonly number[], salt: number, map: (x: number) => number = (x) => x): Tensor =>
  tf.tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => map(mixed(i, salt))),
    [...shape],
  );

function modelOf({ shapes, layer }: LayerCase): tf.LayersModel {
  const inputs = shapes.map((shape) => tf.input({ shape: [...shape] }));
  const made = layer();
  const outputs = made.apply(inputs.length === 1 ? inputs[0]! : inputs) as tf.SymbolicTensor;
  const model = tf.model({ inputs, outputs });
  // A variance must not be negative.
  model.setWeights(
    model.weights.map((w, i) => filled(w.shape as number[], i, w.name.includes('variance') ? (x) => 1 + x * x : (x) => 0.5 * x)),
  );
  return model;
}

const dataOf = (x: Tensor): number[] => Array.from(x.dataSync());

type Results = Record<string, number[] | Error>;
type Recorder = (what: string, f: () => Promise<number[]> | number[]) => Promise<void>;

/**
 * What one layer gives on the engine in use: its prediction, evaluated twice; the gradients of the mean square of its output with respect to
 * its inputs; and the losses and weights after two passes of training over two batches each.
 */
async function resultsOf(one: LayerCase, record: Recorder): Promise<void> {
  const { below, shapes, alone } = one;
  const map = below === undefined ? (x: number): number => x : (x: number): number => Math.floor(((x + 1) / 2) * below);
  const inputs = shapes.map((shape, i) => filled([BATCH, ...shape], 100 + i, map));
  const given = inputs.length === 1 ? inputs[0]! : inputs;
  if (alone) {
    const layer = one.layer() as unknown as { apply(x: unknown): Tensor };
    return record('result', () => dataOf(layer.apply(given)));
  }
  const model = modelOf(one);
  await record('prediction', () => dataOf(model.predict(given) as Tensor));
  await record('prediction again', () => dataOf(model.predict(given) as Tensor));
  const f = (...xs: Tensor[]): Tensor => tf.mean(tf.square(model.apply(xs.length === 1 ? xs[0]! : xs, { training: true }) as Tensor));
  if (below === undefined && !WITHOUT_GRADIENT.has(one.name))
    await record('gradients of the inputs', () => tf.grads(f)(inputs).flatMap(dataOf));
  if (model.trainableWeights.length === 0) return;
  model.compile({ optimizer: tf.train.momentum(0.1, 0.9), loss: 'meanSquaredError', metrics: ['mae'] });
  const target = filled([BATCH, ...model.outputShape.slice(1)] as number[], 200);
  await record('losses', async () => {
    const { history } = await model.fit(given, target, { epochs: 2, batchSize: 2, shuffle: false, verbose: 0 });
    return Object.values(history).flat() as number[];
  });
  await record('weights after training', () => model.getWeights().flatMap(dataOf));
}

async function resultsOn(engine: string, one: LayerCase): Promise<Results> {
  await tf.setBackend(engine);
  const results: Results = {};
  tf.engine().startScope();
  try {
    await resultsOf(one, async (what, f) => {
      try {
        results[what] = await f();
      } catch (error) {
        results[what] = error as Error;
      }
    });
    return results;
  } finally {
    tf.engine().endScope();
    tf.disposeVariables();
  }
}

/** Where a layer on `ort` differs from the same on `cpu`. Where `cpu` has no derivative, `ort` has none too. */
export async function layerFaults(one: LayerCase): Promise<string[]> {
  const [right, got] = [await resultsOn('cpu', one), await resultsOn('ort', one)];
  return Object.entries(right).flatMap(([what, wanted]) => {
    const have = got[what];
    if (wanted instanceof Error || !Array.isArray(have)) {
      const same = wanted instanceof Error && have instanceof Error && wanted.message === have.message;
      return same && /gradient function not found/.test(wanted.message) ? [] : [`${what}: cpu ${String(wanted)}, ort ${String(have)}`];
    }
    const scale = Math.max(1e-3, ...wanted.map(Math.abs));
    const at = wanted.findIndex((value, i) => !(Math.abs(value - have[i]!) <= 2e-5 * scale));
    return have.length === wanted.length && at < 0
      ? []
      : [`${what}: element ${at} of ${wanted.length}: cpu ${wanted[at]}, ort ${have[at]}`];
  });
}
