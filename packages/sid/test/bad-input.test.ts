import { Rng, tf } from '@atelier/tensor';
import { everyEngine } from '@atelier/testkit/vitest';
import { expect, it } from 'vitest';
import {
  adversarialPhase,
  adversarialSettings,
  distillation,
  edmParameterization,
  emaBeta,
  epsilonParameterization,
  fakeScoreLoss,
  fewStepChain,
  flowParameterization,
  generatorLoss,
  guidanceScales,
  initPointNetwork,
  parseMatching,
  parsePointNetwork,
  pointCritic,
  pointNetwork,
  sidSampler,
  sidUNetConfig,
  type PointNetworkParams,
  type SidNetwork,
} from '../src/index.ts';

const config = parsePointNetwork({ width: 8, depth: 1 });
const network = (p: PointNetworkParams): SidNetwork => pointNetwork(p, config);
const identity: SidNetwork = (x) => x;

everyEngine(() => {
  it('wants α where it is stable, or to be told otherwise', () => {
    for (const alpha of [0.49, 1.21, 2, -1])
      expect(() => parseMatching({ alpha }, 'here')).toThrow(
        `here: alpha: wanted 0.5 to 1.2, in which training is known to be stable, or allowUnstableAlpha, got ${alpha}`,
      );
    expect(parseMatching({ alpha: 2, allowUnstableAlpha: true }, 'here').alpha).toBe(2);
    expect(() => parseMatching({ scale: 0 }, 'here')).toThrow('here: scale');
    expect(() => parseMatching({ weighting: 'other' as never }, 'here')).toThrow('here: weighting');
  });

  it('wants numbers of steps that fit', () => {
    expect(() => epsilonParameterization({ start: 3 }).levels(4)).toThrow(
      'levels: steps: wanted at most 3, so that all times differ, got 4',
    );
    for (const steps of [0, 1.5, -1])
      expect(() => epsilonParameterization().levels(steps)).toThrow('levels: steps: wanted an integer at least 1');
    expect(() => flowParameterization().levels(0)).toThrow('levels: steps');
    expect(() => edmParameterization({ end: 2000 })).toThrow('edmParameterization: end');
    expect(() => epsilonParameterization({ start: 1000 })).toThrow('epsilonParameterization: start');
    const parameterization = flowParameterization();
    const options = { parameterization, levels: parameterization.levels(2) };
    const z = tf.zeros([2, 2]);
    expect(() => fewStepChain(identity, [z, z, z], options, 3)).toThrow(
      'fewStepChain: steps: wanted 1 to 2, for which there are levels, got 3',
    );
    expect(() => fewStepChain(identity, [z], options, 2)).toThrow('fewStepChain: noises: wanted 2 for 2 steps of fresh noise, got 1');
    expect(() => fewStepChain(identity, [z], { ...options, noise: 'odd' as never })).toThrow(
      "noise: wanted 'fresh', 'fixed', 'ddim', got 'odd'",
    );
    expect(() => fewStepChain(identity, [tf.zeros([2])], options, 1)).toThrow('noises: 0: wanted a batch');
    const sampler = sidSampler(() => identity, { parameterization });
    expect(() => sampler.sample([], z, { levels: [0.5, 1] })).toThrow(
      'sidSampler: levels: wanted one or more, falling and above 0, got [0.5, 1]',
    );
    expect(() => sampler.sample([], z, { levels: [1, 0.5] })).toThrow('sidSampler: options.noise: wanted a function of the step, got none');
  });

  it('wants a generator of the teacher’s shapes', () => {
    const run = distillation<PointNetworkParams>(network, {
      parameterization: epsilonParameterization(),
      steps: 1,
      guidance: guidanceScales.none,
    });
    const teacher = initPointNetwork(new Rng('teacher'), config);
    const wide = initPointNetwork(new Rng('wide'), parsePointNetwork({ width: 12, depth: 1 }));
    expect(() => run.init(teacher, wide)).toThrow('distillation: init: wanted a generator of the teacher’s shapes'.replace('’', "'"));
    expect(() => run.init(teacher, wide)).toThrow('layers.0.weight: [8, 18], got [12, 18]');
  });

  it('wants labels where guidance needs them', () => {
    const parameterization = flowParameterization();
    const batch = { x: tf.zeros([2, 2]), e: tf.zeros([2, 2]), t: tf.fill([2], 0.5) };
    const nets = { teacher: identity, fake: identity };
    expect(() => generatorLoss(nets, batch, { parameterization, guidance: guidanceScales.lsg(2) })).toThrow(
      'generatorLoss: condition: wanted labels, which guidance of scale 2 needs, got none',
    );
    expect(() => fakeScoreLoss(identity, batch, { parameterization, kappa: 0 })).toThrow('which guidance of scale 0 needs');
    const none = tf.tensor1d([1], 'int32');
    const wrong = { ...batch, condition: { given: tf.zeros([3], 'int32'), none } };
    expect(() => fakeScoreLoss(identity, wrong, { parameterization })).toThrow('condition: wanted one for each of the 2 samples, got [3]');
    const mixed = { ...batch, condition: { given: tf.zeros([2], 'int32'), none: tf.zeros([1]) } };
    expect(() => fakeScoreLoss(identity, mixed, { parameterization })).toThrow(
      'condition: none: wanted int32 as the given ones, got float32',
    );
    expect(() => generatorLoss(nets, batch, { parameterization, guidance: guidanceScales.lsg(NaN) })).toThrow(
      'generatorLoss: guidance: fit',
    );
    expect(() =>
      generatorLoss(nets, batch, { parameterization: edmParameterization(), guidance: guidanceScales.none, weighting: 'snr' }),
    ).toThrow("weighting: wanted 'teacher-error' or 'one' without flow matching, got 'snr'");
  });

  it('wants data with the adversarial term and none without, and a discriminator', () => {
    const recipe = { parameterization: flowParameterization(), steps: 1, guidance: guidanceScales.none };
    const teacher = initPointNetwork(new Rng('teacher'), config);
    const draws = { noises: [tf.zeros([2, 2])], e: tf.zeros([2, 2]), t: tf.fill([2], 0.5), rate: tf.scalar(0.1) };
    const real = tf.zeros([2, 2]);
    const free = distillation<PointNetworkParams>(network, recipe);
    const { fake, generator } = free.init(teacher);
    // @ts-expect-error a distillation without the adversarial term has no place for data
    expect(() => free.fakeUpdate(fake, generator.params, { ...draws, real })).toThrow(
      'fakeUpdate: real: wanted none, for the recipe has no adversarial term, got data',
    );
    const adversarial = adversarialSettings.sida;
    const bound = distillation<PointNetworkParams>(network, { ...recipe, adversarial }, (p) => pointCritic(p, config));
    // @ts-expect-error the adversarial term needs data
    expect(() => bound.fakeUpdate(fake, generator.params, draws)).toThrow(
      'fakeUpdate: real: wanted data for the adversarial term, got none',
    );
    // @ts-expect-error the adversarial term needs a discriminator
    expect(() => distillation<PointNetworkParams>(network, { ...recipe, adversarial })).toThrow(
      'critic: wanted the discriminator that the adversarial term needs',
    );
    expect(() => distillation<PointNetworkParams>(network, { ...recipe, stepMatching: 'some' as never })).toThrow('stepMatching: wanted');
    expect(() => distillation<PointNetworkParams>(network, { ...recipe, matching: { alpha: 3 } })).toThrow('distillation: alpha');
  });

  it('says what else does not fit', () => {
    expect(() => adversarialPhase(1, { frozen: 5, combined: 2 })).toThrow('adversarialPhase: combined');
    expect(adversarialPhase(0, { frozen: 1, combined: 2 }).train).toBe(false);
    expect(adversarialPhase(2, { frozen: 1, combined: 2 })).toEqual({ train: true, matching: 0.5, adversarial: 0.5 });
    expect(() => emaBeta(-1, 8, { halfLife: 1 })).toThrow('emaBeta: images');
    expect(() => sidUNetConfig('other' as never)).toThrow("sidUNetConfig: wanted cifar10 or faces64, got 'other'");
    expect(() => sidUNetConfig('cifar10', { resolution: 30 })).toThrow(
      'sidUNetConfig: resolution: wanted a multiple of 4 for 3 levels, got 30',
    );
    expect(() => parsePointNetwork({ width: 0 })).toThrow('parsePointNetwork: width');
    const t = tf.fill([2], 0.5);
    expect(() => epsilonParameterization().path(t)).toThrow('epsilonParameterization: t: wanted int32 times, got float32');
  });
});
