import { compile, compileModel, Rng, tf, type Tensor } from '@atelier/tensor';

/** Programs as people write them with TensorFlow.js. A step reads its result. `eager` is the plain program, `compiled` the same as one graph. */
export type ProgramWork = {
  eager: () => Promise<number>;
  compiled: () => Promise<number>;
};

const floats = (name: string, shape: number[]): Tensor => new Rng(`bench programs ${name}`).uniform(shape);

/** Weights that are equal on every engine. */
function fixWeights(model: tf.LayersModel): void {
  model.setWeights(
    tf.tidy(() => model.getWeights().map((w, i) => tf.mul(tf.sub(floats(`weights ${i}`, w.shape), 0.5), 2 / Math.sqrt(w.shape[0] ?? 1)))),
  );
}

/** Brings the output to the host, as a program that uses it must, and computes one figure of it there. */
async function sumOfSquares(y: Tensor): Promise<number> {
  const values = (await y.data()) as Float32Array;
  y.dispose();
  return values.reduce((sum, value) => sum + value * value, 0);
}

/** Two convolutions, two pools, two dense layers on images of 28 × 28. */
function convolutional(): tf.Sequential {
  const model = tf.sequential({
    layers: [
      tf.layers.conv2d({ inputShape: [28, 28, 1], filters: 16, kernelSize: 3, activation: 'relu', kernelInitializer: 'zeros' }),
      tf.layers.maxPooling2d({ poolSize: 2 }),
      tf.layers.conv2d({ filters: 32, kernelSize: 3, activation: 'relu', kernelInitializer: 'zeros' }),
      tf.layers.maxPooling2d({ poolSize: 2 }),
      tf.layers.flatten(),
      tf.layers.dense({ units: 64, activation: 'relu', kernelInitializer: 'zeros' }),
      tf.layers.dense({ units: 10, activation: 'softmax', kernelInitializer: 'zeros' }),
    ],
  });
  fixWeights(model);
  return model;
}

function recurrent(): tf.Sequential {
  const zeros = { kernelInitializer: 'zeros', recurrentInitializer: 'zeros' } as const;
  const model = tf.sequential({ layers: [tf.layers.lstm({ units: 32, inputShape: [24, 16], ...zeros }), tf.layers.dense({ units: 4 })] });
  fixWeights(model);
  return model;
}

function prediction(model: tf.Sequential, x: Tensor): ProgramWork {
  const fast = compileModel(model);
  return {
    eager: () => sumOfSquares(model.predict(x) as Tensor),
    compiled: () => sumOfSquares(fast.predict(x) as Tensor),
  };
}

const STEPS = 100;

/** x ← 0.9 x + c, where the host reads x after every step. */
function smallLoop(): ProgramWork {
  const step = compile((x: Tensor, c: Tensor) => tf.add(tf.mul(x, 0.9), c));
  const run = (next: (x: Tensor, c: number) => Tensor) => async (): Promise<number> =>
    tf.tidy(() => {
      let x: Tensor = tf.tensor1d([1, 2, 3]);
      let sum = 0;
      for (let i = 0; i < STEPS; i++) {
        x = next(x, i / STEPS);
        sum += x.dataSync()[0]!;
      }
      return sum;
    });
  return { eager: run((x, c) => tf.add(tf.mul(x, 0.9), c)), compiled: run((x, c) => step(x, tf.scalar(c))) };
}

/** A step of stochastic gradient descent with `model.trainOnBatch`, and the same step compiled, on a dense network. */
function layersTraining(): ProgramWork {
  const model = tf.sequential({
    layers: [
      tf.layers.dense({ inputShape: [64], units: 128, activation: 'relu', kernelInitializer: 'zeros' }),
      tf.layers.dense({ units: 128, activation: 'relu', kernelInitializer: 'zeros' }),
      tf.layers.dense({ units: 10, activation: 'softmax', kernelInitializer: 'zeros' }),
    ],
  });
  fixWeights(model);
  const x = floats('inputs of the training step', [64, 64]);
  const y = tf.oneHot(
    tf.tensor1d(
      Array.from({ length: 64 }, (_, i) => i % 10),
      'int32',
    ),
    10,
  );
  const rate = 0.01;
  model.compile({ optimizer: tf.train.sgd(rate), loss: 'categoricalCrossentropy' });
  const loss = (w: Tensor[]): Tensor => {
    const dense = (input: Tensor, i: number): Tensor => tf.add(tf.matMul(input, w[i]!), w[i + 1]!);
    const logits = dense(tf.relu(dense(tf.relu(dense(x, 0)), 2)), 4);
    return tf.neg(tf.mean(tf.sum(tf.mul(y, tf.logSoftmax(logits)), 1)));
  };
  const step = compile(
    (w: Tensor[]) => {
      const { value, grads } = tf.valueAndGrads((...ws: Tensor[]) => loss(ws))(w);
      return { loss: value, w: w.map((old, i) => tf.sub(old, tf.mul(grads[i]!, rate))) };
    },
    { donate: [0] },
  );
  let weights = model.getWeights().map((w) => w.clone());
  return {
    eager: async () => (await model.trainOnBatch(x, y)) as number,
    compiled: async () => {
      const next = step(weights);
      weights = next.w;
      const [value] = await next.loss.data();
      next.loss.dispose();
      return value!;
    },
  };
}

/** The programs by the names of their rows. */
export const programs = {
  'convolutional-classifier': () => prediction(convolutional(), floats('images', [16, 28, 28, 1])),
  lstm: () => prediction(recurrent(), floats('sequences', [8, 24, 16])),
  'small-loop': smallLoop,
  'layers-training': layersTraining,
} satisfies Record<string, () => ProgramWork>;
export type ProgramName = keyof typeof programs;
