import { ring } from '@atelier/datasets';
import { slicedWasserstein } from '@atelier/metrics';
import { adamW, linearDecay, type AdamState } from '@atelier/nn';
import { compile, disposeTree, Rng, tf, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import {
  distillation,
  emaBeta,
  epsilonParameterization,
  fakeScoreLoss,
  guidanceScales,
  initPointNetwork,
  parsePointNetwork,
  pointNetwork,
  sidSampler,
  type FakeState,
  type GeneratorDraws,
  type GeneratorState,
  type PointNetworkParams,
  type UpdateDraws,
} from './src/index.ts';

// A diffusion model of a ring of eight Gaussians, distilled to four steps without looking at a single point of the ring again.
await useEngine();
const [rng, density, B] = [new Rng('ring'), ring({ radius: 1.4, std: 0.08 }), 256];
const config = parsePointNetwork({ width: 64 });
const network = (params: PointNetworkParams) => pointNetwork(params, config);
const parameterization = epsilonParameterization();

// The teacher: ordinary denoising of data.
const optimizer = adamW();
type Teacher = { params: PointNetworkParams; adam: AdamState };
const teach = compile(
  ({ params, adam }: Teacher, { rate, ...batch }: { x: Tensor; e: Tensor; t: Tensor; rate: Tensor }) => {
    const { loss, grads } = valueAndGrad((at: PointNetworkParams) => {
      return { loss: fakeScoreLoss(network(at), batch, { parameterization, scale: 0.5 }).loss, aux: {} };
    }, params);
    const next = optimizer.update(grads, adam, params, rate);
    return { state: { params: next.params, adam: next.state }, loss };
  },
  { donate: [0, 1] },
);
const start = initPointNetwork(rng.child('init'), config);
let taught: Teacher = { params: start, adam: optimizer.init(start) };
const [lessons, rate] = [1500, linearDecay(2e-3, 1500)];
for (let i = 0; i < lessons; i++) {
  const draws = rng.child('teacher').child(i);
  const { state, loss } = teach(taught, {
    x: tf.tensor2d(density.sample(draws.child('data'), B), [B, 2]),
    e: draws.child('noise').normal([B, 2]),
    t: parameterization.drawTimes(draws.child('times'), B, 'fit'),
    rate: tf.scalar(rate(i)),
  });
  taught = state;
  loss.dispose();
}
const teacher = taught.params;

// The distillation: nothing but the teacher. Both updates are one graph for each number of steps.
const run = distillation<PointNetworkParams>(network, { parameterization, steps: 4, guidance: guidanceScales.none });
type State = { fake: FakeState<PointNetworkParams>; generator: GeneratorState<PointNetworkParams> };
const distil = compile(
  ({ fake, generator }: State, first: UpdateDraws, then: GeneratorDraws) => {
    const fitted = run.fakeUpdate(fake, generator.params, first);
    const moved = run.generatorUpdate(generator, { teacher, fake: fitted.state.params }, then);
    return { state: { fake: fitted.state, generator: moved.state }, divergence: moved.metrics.divergence };
  },
  { donate: [0, 1, 2] },
);
let state: State = run.init(teacher);
const iterations = 150;
for (let i = 0; i < iterations; i++) {
  const stream = rng.child('distil').child(i);
  const k = run.stepsOf(stream.child('k').uniforms(1)[0]!);
  const draws = (name: 'fit' | 'match', speed: number): UpdateDraws => ({
    noises: Array.from({ length: k }, (_, step) => stream.child(`${name} ${step}`).normal([B, 2])),
    e: stream.child(`${name} noise`).normal([B, 2]),
    t: parameterization.drawTimes(stream.child(`${name} times`), B, name),
    rate: tf.scalar(speed),
  });
  const out = distil(state, draws('fit', 5e-4), { ...draws('match', 2e-4), beta: tf.scalar(emaBeta(i * B, B, { halfLife: 50_000 })) });
  state = out.state;
  if (i % 50 === 49) console.log(`iteration ${i + 1}, ${k} steps: divergence ${(await out.divergence.data())[0]!.toFixed(3)}`);
  out.divergence.dispose();
}

// Both in the same four steps from the same noise.
const sampler = sidSampler(network, { parameterization });
const n = 4096;
const truth = density.sample(rng.child('truth'), n);
const distance = async (params: PointNetworkParams): Promise<number> => {
  const z = rng.child('evaluation').normal([n, 2]);
  const x = sampler.sample(params, z, { levels: run.levels, noise: (i) => rng.child('evaluation').child(i).normal([n, 2]) });
  const points = (await x.data()) as Float32Array;
  disposeTree([z, x]);
  return slicedWasserstein(points, truth, 2, rng.child('directions'));
};
console.log(
  `sliced Wasserstein distance in 4 steps: teacher ${(await distance(teacher)).toFixed(3)}, distilled ${(await distance(state.generator.average)).toFixed(3)}`,
);
