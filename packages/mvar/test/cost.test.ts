import { compile, Rng, toTensor, useEngine, type Tensor, type Tree } from '@atelier/tensor';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  attentionMacs,
  cacheBytes,
  forwardMacs,
  initMvar,
  keptBytes,
  ladders,
  mvarForward,
  mvarParameterCount,
  drawTokenNoise,
  mvarSampler,
  publishedMvar,
  scalesOf,
  tokenCount,
  tokenizerParameterCount,
  tokenizerParameters,
  trainingGroups,
  varSettings,
  visiblePairCount,
  type MvarConfig,
  type MvarParams,
  type MvarSettings,
} from '../src/index.ts';
import { causal, coding, drawnInputs, drawnParams, drawnQuantizer, inputsOf, markov } from './networks.ts';

beforeAll(async () => {
  await useEngine();
});

const of = (depth: 16 | 20 | 24 | 30, ladder: readonly number[], more: Partial<MvarSettings> = {}): MvarSettings => ({
  ...publishedMvar(depth, { ladder }),
  ...more,
});
const K = 10;
const causalOf = (depth: 16 | 20 | 24 | 30, ladder: readonly number[]): MvarSettings =>
  of(depth, ladder, { historyScales: K, refineStep: K, kernelSize: 1 });

describe('invariant 13: the published costs', () => {
  it('parameters: 310.28, 600.92, 1033.40 and 2010.02 million; the same for VAR', () => {
    const wanted = { 16: 310.28, 20: 600.92, 24: 1033.4, 30: 2010.02 };
    for (const [depth, millions] of Object.entries(wanted)) {
      const settings = publishedMvar(Number(depth) as 16, { ladder: ladders[256] });
      expect((mvarParameterCount(settings) / 1e6).toFixed(2)).toBe(millions.toFixed(2));
      expect(mvarParameterCount(varSettings(settings))).toBe(mvarParameterCount(settings));
    }
  });

  it('the tokenizer: 108.95 million, 44.11 of them encoding, 64.65 decoding, 0.168 quantizing', () => {
    const settings = { autoencoder: {}, quantizer: { ladder: [...ladders[256]], codes: 4096, channels: 32 } };
    expect((tokenizerParameterCount(settings) / 1e6).toFixed(2)).toBe('108.95');
    const part = (prefix: string): number =>
      Object.entries(tokenizerParameters(settings))
        .filter(([name]) => name.startsWith(prefix))
        .reduce((sum, [, { shape }]) => sum + shape.reduce((a, b) => a * b, 1), 0);
    expect((part('encoder.') / 1e6).toFixed(2)).toBe('44.11');
    expect((part('decoder.') / 1e6).toFixed(2)).toBe('64.65');
    expect((part('quantize.') / 1e6).toFixed(3)).toBe('0.168');
  });

  it.each<[string, MvarSettings, number, number]>([
    ['VAR-d16', causalOf(16, ladders[256]), 286_434, 43.61],
    ['a history of 3', of(16, ladders[256], { historyScales: 3, refineStep: K, kernelSize: 1 }), 223_310, 41.54],
    ['a history of 2', of(16, ladders[256], { historyScales: 2, refineStep: K, kernelSize: 1 }), 180_820, 40.15],
    ['a history of 1', of(16, ladders[256], { refineStep: K, kernelSize: 1 }), 110_468, 37.85],
    ['windows of 3', of(16, ladders[256], { kernelSize: 3 }), 20_196, 34.89],
    ['windows of 5', of(16, ladders[256], { kernelSize: 5 }), 26_996, 35.11],
    ['MVAR-d16', of(16, ladders[256]), 37_196, 35.44],
    ['windows of 9', of(16, ladders[256], { kernelSize: 9 }), 50_796, 35.89],
    ['VAR-d16, 512 pixels', causalOf(16, ladders[512]), 3_269_850, 219.89],
    ['MVAR-d16, 512 pixels', of(16, ladders[512]), 110_768, 116.37],
    ['VAR-d20', causalOf(20, ladders[256]), 286_434, 81.51],
    ['MVAR-d20', of(20, ladders[256]), 37_196, 68.75],
    ['VAR-d24', causalOf(24, ladders[256]), 286_434, 136.63],
    ['MVAR-d24', of(24, ladders[256]), 37_196, 118.25],
    ['VAR-d30', causalOf(30, ladders[256]), 286_434, 258.6],
    ['MVAR-d30', of(30, ladders[256]), 37_196, 229.89],
  ])('%s: pairs exactly, and the GFLOPs of the tables', (_, settings, pairs, giga) => {
    expect(visiblePairCount(settings)).toBe(pairs);
    expect(Math.abs(attentionMacs(settings) / 1e9 - giga)).toBeLessThan(0.02);
  });

  it('caches of the tables', () => {
    expect(cacheBytes(causalOf(16, ladders[256]), 32, true)).toBe(5_704_253_440);
    expect(cacheBytes(causalOf(20, ladders[256]), 32, true) / 2 ** 20).toBe(8500);
    expect(cacheBytes(causalOf(24, ladders[256]), 32, true) / 2 ** 20).toBe(12_240);
    expect(Math.round(cacheBytes(causalOf(30, ladders[256]), 64, true) / 1e6)).toBe(40_108);
    expect(Math.round(cacheBytes(causalOf(16, ladders[512]), 32, true) / 1e6)).toBe(18_790);
    for (const [w, megabytes] of [
      [3, 3565],
      [2, 2147],
      [1, 0],
    ] as const)
      expect(Math.round(cacheBytes(of(16, ladders[256], { historyScales: w, refineStep: K, kernelSize: 1 }), 32, true) / 1e6)).toBe(
        megabytes,
      );
  });

  it('the reduced models: pairs 11323, 5746 and 2854; 0.64 of the work; 64 tokens in the longest pass, not 130', () => {
    const network = { ladder: [1, 2, 3, 4, 6, 8], width: 64, depth: 3, heads: 4, latentChannels: 8, codes: 128, numClasses: 4 };
    const [own, scales, mvar] = [
      varSettings(network),
      { ...network, refineStep: 6, kernelSize: 1 },
      { ...network, refineStep: 4, kernelSize: 5 },
    ] as const;
    expect([own, scales, mvar].map((settings) => visiblePairCount(settings))).toEqual([11_323, 5746, 2854]);
    expect((attentionMacs(mvar) / attentionMacs(own)).toFixed(2)).toBe('0.64');
    expect(cacheBytes(own, 8, false)).toBe(2 * 3 * 130 * 64 * 8 * 4);
    expect(cacheBytes(mvar, 8, false)).toBe(0);
    const tokens = trainingGroups({ ...markov, ...mvar } as MvarConfig).map(({ first, end }) =>
      tokenCount(network.ladder.slice(first, end)),
    );
    expect(tokens).toEqual([30, 36, 64]);
  });
});

describe('the cost model and the traced graph', () => {
  it.each<[string, MvarConfig]>([
    ['VAR', causal],
    ['MVAR', markov],
    ['a history of two scales', { ...causal, historyScales: 2 }],
    ['windows of an even side', { ...markov, kernelSize: 4 }],
    ['a shared layer of modulations', { ...causal, sharedAdaLN: true }],
    ['MVAR of 256 pixels, narrow', { ...markov, ladder: [...ladders[256]], refineStep: 8, kernelSize: 7 }],
  ])('%s: agree to the last multiply-accumulate', (name, config) => {
    const ranges = config.historyScales > 1 ? [{ first: 0, end: config.ladder.length }] : trainingGroups(config);
    const params = initMvar(new Rng(name), config);
    for (const range of ranges)
      for (const B of [1, 3]) {
        const { y, x } = inputsOf(drawnInputs(config, B, name), range.first, range.end, config);
        const run = compile((p: Tree, ...given: Tensor[]) =>
          mvarForward(p as unknown as MvarParams, { y: given[0]!, ...(given[1] && { x: given[1] }) }, range, config),
        );
        expect(run.multiplyAdds(params as unknown as Tree, y, ...(x ? [x] : []))).toBe(B * forwardMacs(config, range));
        run.dispose();
      }
  });

  it('what is kept between steps is what the model says, 0 for MVAR', () => {
    for (const config of [markov, causal, { ...causal, historyScales: 2 }, { ...causal, historyScales: 3 }])
      for (const guidance of [0, 2]) {
        const sampler = mvarSampler(config, coding);
        const y = toTensor({ dtype: 'int32', shape: [2], data: Int32Array.of(0, 2) });
        const model = { params: drawnParams(config, 'kept'), codes: drawnQuantizer(coding, 'kept'), y };
        const steps = sampler.steps(model, drawTokenNoise(new Rng('kept'), 2, config), { guidance });
        const seen = Array.from(steps, ({ keptBytes: bytes }) => bytes);
        expect(seen).toEqual(scalesOf(config.ladder).map(({ index }) => keptBytes(config, index, 2, guidance > 0)));
        if (config.historyScales === 1) expect(seen.every((bytes) => bytes === 0)).toBe(true);
        sampler.dispose();
      }
  });
});
