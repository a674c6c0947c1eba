import { applyDiT, ditParameterCount, ditMacs, initDiT, officialDiTConfig, type DiTInputs, type DiTName } from '@atelier/nn';
import { compile, Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  applySwinDiT,
  initSwinDiT,
  swinDiTLayers,
  swinDiTMacs,
  swinDiTParameterCount,
  swinDiTSettings,
  type SwinDiTParams,
  type SwinDiTSettings,
} from '../src/index.ts';
import { tiny } from './networks.ts';

beforeAll(async () => {
  await useEngine();
});

/** DiT's parameters with its frozen positions, then PSWA's, GMAC at 256 and 512 pixels, window heads in all. */
const published: Record<string, { dit: number; pswa: number; macs: [number, number]; ratio: [number, number]; heads: number }> = {
  'S/2': { dit: 32_963_360, pswa: 31_158_980, macs: [5.09, 20.32], ratio: [0.84, 0.646], heads: 36 },
  'B/2': { dit: 130_512_416, pswa: 123_364_712, macs: [20.17, 80.53], ratio: [0.877, 0.757], heads: 72 },
  'L/2': { dit: 458_102_816, pswa: 433_012_960, macs: [71.52, 285.6], ratio: [0.886, 0.791], heads: 192 },
  'XL/2': { dit: 675_129_632, pswa: 638_113_280, macs: [105.51, 421.37], ratio: [0.889, 0.803], heads: 224 },
};

describe('invariant 11: parameters and multiply-accumulates', () => {
  it.each(Object.entries(published))('of %s', (name, { dit, pswa, macs, ratio, heads }) => {
    const config = officialDiTConfig(name as DiTName);
    expect(ditParameterCount(config) + 256 * config.width).toBe(dit);
    expect(swinDiTParameterCount(swinDiTSettings(name as DiTName))).toBe(pswa);
    [256, 512].forEach((image, i) => {
      const settings = swinDiTSettings(name as DiTName, { image });
      const { total } = swinDiTMacs(settings);
      expect((total / 1e9).toFixed(2)).toBe(macs[i]!.toFixed(2));
      expect((total / ditMacs(config, { H: image / 8, W: image / 8 }).total).toFixed(3)).toBe(ratio[i]!.toFixed(3));
      const layers = swinDiTLayers(settings);
      expect(layers.reduce((sum, layer) => sum + (layer.kind === 'global' ? NaN : layer.windowHeads), 0)).toBe(heads);
    });
  });

  it('of DiT itself are those of a network that attends globally', () => {
    for (const [name, total] of [
      ['XL/2', 118_621_421_568],
      ['S/2', 6_055_673_856],
    ] as const) {
      const global = swinDiTSettings(name, { attention: 'global' });
      expect(swinDiTMacs(global).total).toBe(total);
      expect(swinDiTParameterCount(global)).toBe(ditParameterCount(global.dit));
    }
  });

  it('of the reduced models: 87,364, 87,508, 83,852 and 80,196 parameters, 0.877, 0.827 and 0.763 M in their blocks', () => {
    const dit = { inChannels: 1, patchSize: 2, width: 32, depth: 4, heads: 4, numClasses: 1, nullClass: false };
    const smoke: SwinDiTSettings = { dit, grid: [4, 4], window: 2, kernel: 3 };
    const of = (more: Partial<SwinDiTSettings>) => {
      const { blocks } = swinDiTMacs({ ...smoke, ...more });
      return [swinDiTParameterCount({ ...smoke, ...more }), (blocks.reduce((a, b) => a + b, 0) / 1e6).toFixed(3)];
    };
    expect(of({ attention: 'global' })).toEqual([87_364, '0.877']);
    expect(of({ attention: 'window' })).toEqual([87_508, '0.827']);
    expect(of({ attention: ['window', 'shifted', 'window', 'shifted'] })).toEqual([87_508, '0.827']);
    expect(of({})).toEqual([83_852, '0.763']);
    expect(of({ windowHeads: [0, 0, 0, 0] })[0]).toBe(80_196);
  });
});

describe('invariant 10: a ramp costs the same as the uniform allocation with the same total', () => {
  it('to the last multiply-accumulate', () => {
    for (const name of ['S/2', 'B/2', 'L/2', 'XL/2'] as const) {
      const macs = (rho0: number, rho1: number): number => swinDiTMacs(swinDiTSettings(name, { pcca: { rho0, rho1 } })).total;
      expect(macs(1 / 2, 1 / 2)).toBe(macs(1 / 4, 3 / 4));
      expect(macs(3 / 4, 1 / 4)).toBe(macs(1 / 4, 3 / 4));
      expect(macs(0, 1)).toBe(macs(1 / 4, 3 / 4));
    }
  });
});

describe('the cost model and the traced graph', () => {
  const run = (settings: SwinDiTSettings, B: number): number => {
    const [h, w] = settings.grid;
    const P = settings.dit.patchSize;
    const counted = compile((params: SwinDiTParams, x: Tensor, inputs: DiTInputs) => applySwinDiT(params, x, inputs, settings));
    return tf.tidy(() => {
      const x = tf.zeros([B, h * P, w * P, settings.dit.inChannels]);
      return counted.multiplyAdds(initSwinDiT(new Rng('cost'), settings), x, { t: tf.zeros([B]), y: tf.zeros([B], 'int32') });
    });
  };

  it.each<[string, Partial<SwinDiTSettings>]>([
    ['PSWA', {}],
    ['PSWA with a kernel of 5', { kernel: 5 }],
    ['only windows', { attention: 'window' }],
    ['shifted windows', { attention: ['window', 'shifted', 'window'] }],
    ['only bridges', { windowHeads: [0, 0, 0] }],
    ['a hybrid', { attention: ['pswa', 'global', 'window'], windowHeads: [3] }],
    ['DiT', { attention: 'global' }],
  ])('agree to the last multiply-accumulate: %s', (_, more) => {
    const settings = { ...tiny, ...more };
    expect(run(settings, 1)).toBe(swinDiTMacs(settings).total);
    expect(run(settings, 2)).toBe(2 * swinDiTMacs(settings).total);
  });

  it('agree if a batch is processed in pieces', () => {
    const settings: SwinDiTSettings = { ...tiny, dit: { ...tiny.dit, width: 64, mlpRatio: 4 }, grid: [16, 24], window: 8 };
    expect(run(settings, 16)).toBe(16 * swinDiTMacs(settings).total);
  });

  it('agree for the DiT of nn', () => {
    const counted = compile((params: ReturnType<typeof initDiT>, x: Tensor, inputs: DiTInputs) => applyDiT(params, x, inputs, tiny.dit));
    const total = counted.multiplyAdds(initDiT(new Rng('cost'), tiny.dit), tf.zeros([1, 8, 12, 3]), {
      t: tf.zeros([1]),
      y: tf.zeros([1], 'int32'),
    });
    expect(total).toBe(ditMacs(tiny.dit, { H: 8, W: 12 }).total);
  });
});
