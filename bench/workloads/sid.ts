import { drawEdm, edmDenoiser, edmLoss } from '@atelier/diffusion';
import { adamW, applySongUNet, emaUpdate, initSongUNet, parseSongUNetConfig, type AdamState, type SongUNetParams } from '@atelier/nn';
import {
  distillation,
  emaBeta,
  epsilonParameterization,
  guidanceScales,
  initPointNetwork,
  parsePointNetwork,
  pointNetwork,
  type FakeState,
  type GeneratorDraws,
  type GeneratorState,
  type PointNetworkParams,
  type UpdateDraws,
} from '@atelier/sid';
import { compile, disposeTree, Rng, tf, toHostTree, valueAndGrad, type Tensor, type Tree } from '@atelier/tensor';
import type { Work } from '../harness/work.ts';
import { copyOf, moved, sumOfSquares } from './trees.ts';

const CHECK_STEPS = 3;
const [FAKE_RATE, GENERATOR_RATE] = [5e-4, 2e-4];

const read = (x: Tensor): number => {
  const value = x.dataSync()[0]!;
  x.dispose();
  return value;
};

/**
 * One iteration of one-step SiD on points in the plane: two compiled updates with new draws, and the average of the generator. Its check
 * numbers are both losses of the first iterations, and Σ average² after them.
 */
export function sidWork(): Work {
  const B = 256;
  const [rng, config] = [new Rng('bench sid'), parsePointNetwork({})];
  const parameterization = epsilonParameterization();
  const run = distillation<PointNetworkParams>((params) => pointNetwork(params, config), {
    parameterization,
    steps: 1,
    guidance: guidanceScales.none,
  });
  const teacher = initPointNetwork(rng.child('init'), config);
  // If the two networks were equal, the first loss would be 0.
  const start = { fake: moved(teacher, rng.child('fake'), 0.05), generator: moved(teacher, rng.child('generator'), 0.05) };
  type Fake = FakeState<PointNetworkParams>;
  type Generator = GeneratorState<PointNetworkParams>;
  const fit = compile((fake: Fake, generator: PointNetworkParams, draws: UpdateDraws) => run.fakeUpdate(fake, generator, draws), {
    donate: [0, 2],
    name: 'sid: fake score',
    idle: 'sleep',
  });
  const match = compile(
    (generator: Generator, fake: PointNetworkParams, draws: GeneratorDraws) => run.generatorUpdate(generator, { teacher, fake }, draws),
    { donate: [0, 2], name: 'sid: generator', idle: 'sleep' },
  );
  const fresh = (): { fake: Fake; generator: Generator } => {
    const { fake, generator } = run.init(teacher, start.generator);
    disposeTree(fake.params);
    return { fake: { ...fake, params: copyOf(start.fake) }, generator };
  };
  const draw = (from: Rng, use: 'fit' | 'match'): UpdateDraws => ({
    noises: [from.normal([B, 2])],
    e: from.normal([B, 2]),
    t: parameterization.drawTimes(from, B, use),
    rate: tf.scalar(use === 'fit' ? FAKE_RATE : GENERATOR_RATE),
  });
  let images = 0;
  const advance = (state: { fake: Fake; generator: Generator }, first: UpdateDraws, then: UpdateDraws, seen: number) => {
    const fitted = fit(state.fake, state.generator.params, first);
    const next = match(state.generator, fitted.state.params, { ...then, beta: tf.scalar(emaBeta(seen, B, { halfLife: 50_000 })) });
    const figures = [read(fitted.metrics.loss), read(next.metrics.loss)];
    disposeTree([
      fitted.metrics.critic,
      fitted.metrics.kept,
      next.metrics.adversarial,
      next.metrics.divergence,
      next.metrics.spread,
      next.metrics.kept,
    ]);
    return { state: { fake: fitted.state, generator: next.state }, figures };
  };
  const draws = rng.child('draws');
  let running: ReturnType<typeof fresh> | undefined;
  return {
    step: () => {
      running = advance(running ?? fresh(), draw(draws, 'fit'), draw(draws, 'match'), images).state;
      images += B;
    },
    check: async () => {
      let state = fresh();
      const figures: number[] = [];
      for (let i = 0; i < CHECK_STEPS; i++) {
        const out = advance(state, draw(rng.child('check fit'), 'fit'), draw(rng.child('check match'), 'match'), i * B);
        state = out.state;
        figures.push(...out.figures);
      }
      figures.push(await sumOfSquares(state.generator.average));
      disposeTree(state);
      return figures;
    },
    tensors: async () => {
      const [first, then] = [draw(rng.child('check fit'), 'fit'), draw(rng.child('check match'), 'match')];
      const [fits, matches] = [first, then].map(({ noises, e, t }) => ({ z: noises[0]!, e, t }));
      const host = await toHostTree({ teacher, ...start, fit: fits!, match: matches! } as Tree);
      disposeTree([first, then]);
      return host;
    },
    peerConfig: { work: 'sid', batch: B, fake_lr: FAKE_RATE, generator_lr: GENERATOR_RATE, half_life: 50_000, features: config.features },
  };
}

/** One training step of EDM with its U-Net of 32 channels on 16 × 16 images: draw a batch, loss, gradients, Adam, average. */
export function unetWork(): Work {
  const [B, rate, decay, pool] = [32, 1e-3, 0.999, 1024];
  const config = parseSongUNetConfig(
    { resolution: 16, inChannels: 3, outChannels: 3, channels: 32, channelMult: [1, 2], blocks: 1, attentionResolutions: [8] },
    'bench sid',
  );
  const rng = new Rng('bench unet');
  const optimizer = adamW();
  const start = moved(initSongUNet(rng.child('init'), config), rng.child('moved'), 0.02);
  const data = rng
    .child('pool')
    .normals(pool * 16 * 16 * 3)
    .map((value) => value / 2);
  type State = { params: SongUNetParams; adam: AdamState; average: SongUNetParams };
  type Batch = { x: Tensor; e: Tensor; sigma: Tensor };
  const train = compile(
    ({ params, adam, average }: State, batch: Batch, rates: { rate: Tensor; decay: Tensor }) => {
      const { loss, grads } = valueAndGrad((p: SongUNetParams) => {
        const denoiser = edmDenoiser((x, noise) => applySongUNet(p, x, { times: [noise] }, config));
        return { loss: edmLoss(denoiser, batch).loss, aux: {} };
      }, params);
      const next = optimizer.update(grads, adam, params, rates.rate);
      return { state: { params: next.params, adam: next.state, average: emaUpdate(average, next.params, rates.decay) }, loss };
    },
    { donate: [0, 1, 2], name: 'U-Net' },
  );
  const fresh = (): State => ({ params: copyOf(start), adam: optimizer.init(start), average: copyOf(start) });
  const draw = (from: Rng): Batch => {
    const rows = from.integers(B, 0, pool);
    const x = new Float32Array(B * 768);
    rows.forEach((row, i) => x.set(data.subarray(row * 768, (row + 1) * 768), i * 768));
    const { e, sigma } = drawEdm(from, [B, 16, 16, 3]);
    return { x: tf.tensor(x, [B, 16, 16, 3]), e, sigma };
  };
  const advance = (state: State, batch: Batch) => {
    const out = train(state, batch, { rate: tf.scalar(rate), decay: tf.scalar(decay) });
    return { state: out.state as State, loss: read(out.loss) };
  };
  let step = 0;
  let running: State | undefined;
  return {
    step: () => {
      running = advance(running ?? fresh(), draw(rng.child('draws').child(step++))).state;
    },
    check: async () => {
      let state = fresh();
      const figures: number[] = [];
      for (let i = 0; i < CHECK_STEPS; i++) {
        const out = advance(state, draw(rng.child('check')));
        state = out.state;
        figures.push(out.loss);
      }
      figures.push(await sumOfSquares(state.average));
      disposeTree(state);
      return figures;
    },
    tensors: async () => {
      const batch = draw(rng.child('check'));
      const host = await toHostTree({ params: start, check: batch } as Tree);
      disposeTree(batch as Tree);
      host['pool.x'] = { dtype: 'float32', shape: [pool, 16, 16, 3], data };
      return host;
    },
    peerConfig: { work: 'unet', batch: B, b1: 0.9, b2: 0.999, lr: rate, decay },
  };
}
