import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cosineBetas, diffusionTables, keptSteps, linearBetas, respace, type DiffusionTables } from '../src/index.ts';

const full = diffusionTables(linearBetas());
const cosine = diffusionTables(cosineBetas(60));

/** Respacing settings that are valid for 1000 steps. */
const respacing = fc.oneof(
  fc.integer({ min: 1, max: 1000 }),
  fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 5 }).map((counts) => counts.join(',')),
  fc.integer({ min: 1, max: 1000 }).map((stride) => `ddim${Math.ceil(1000 / stride)}`),
  fc.constant(''),
);

describe('schedules', () => {
  it('linear: from 1e-4 to 0.02 over 1000 steps, both ends scaled for another number of steps', () => {
    const betas = linearBetas();
    expect([betas[0], betas[999]]).toEqual([1e-4, 0.02]);
    expect(betas[333]! - betas[332]!).toBeCloseTo(0.0199 / 999, 15);
    expect(linearBetas(500)[0]).toBe(2e-4);
    expect(linearBetas(500)[499]).toBe(0.04);
  });

  it('cosine: the product of 1 - β is the squared cosine, up to the first clipped β', () => {
    const f = (u: number): number => Math.cos((Math.PI / 2) * ((u + 0.008) / 1.008)) ** 2;
    for (let k = 0; k < 59; k++) expect(cosine.alphaBar[k]).toBeCloseTo(f((k + 1) / 60) / f(0), 12);
    expect(cosine.betas[59]).toBe(0.999);
  });

  it('refuse what does not fit', () => {
    expect(() => linearBetas(20)).toThrow('linearBetas: steps: wanted an integer at least 21, got 20');
    expect(() => cosineBetas(0)).toThrow('cosineBetas: steps: wanted an integer at least 1, got 0');
    expect(() => diffusionTables([])).toThrow('diffusionTables: betas: length: wanted an integer at least 1, got 0');
    expect(() => diffusionTables([0.1, 1])).toThrow('diffusionTables: betas: step 1: wanted a finite number above 0 and below 1, got 1');
    expect(() => diffusionTables([0.1, NaN])).toThrow('got NaN');
    expect(() => diffusionTables([0.1, 0.2], [0])).toThrow('diffusionTables: timesteps: wanted 2 of them, one for each beta, got 1');
    expect(() => diffusionTables(undefined as never)).toThrow(
      'diffusionTables: betas: length: wanted an integer at least 1, got undefined',
    );
  });
});

describe('tables', () => {
  /** √α_k computed from c¹ and c². */
  const identity = (tables: DiffusionTables): void => {
    for (let k = 0; k < tables.steps; k++) {
      const root = tables.posteriorMeanX0[k]! * tables.sqrtAlphaBar[k]! + tables.posteriorMeanXk[k]!;
      expect(Math.abs(root - Math.sqrt(1 - tables.betas[k]!))).toBeLessThan(1e-10);
    }
  };

  it('satisfy the identity of the posterior, with all steps and respaced', () => {
    identity(full);
    identity(cosine);
    fc.assert(
      fc.property(respacing, (setting) => identity(respace(full, setting))),
      { numRuns: 40 },
    );
  });

  it('of a respaced process have the original ᾱ at the kept steps', () => {
    fc.assert(
      fc.property(respacing, (setting) => {
        const tables = respace(full, setting);
        expect(tables.steps).toBe(tables.timesteps.length);
        for (let k = 0; k < tables.steps; k++) {
          const tau = tables.timesteps[k]!;
          expect(Math.abs(tables.alphaBar[k]! / full.alphaBar[tau]! - 1)).toBeLessThan(1e-12);
          expect(tables.alphaBarPrevious[k]).toBe(k === 0 ? 1 : tables.alphaBar[k - 1]);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('of a process respaced twice give the network the times of the original process', () => {
    const twice = respace(respace(full, '100'), '4');
    expect(Array.from(twice.timesteps)).toEqual([0, 333, 666, 999]);
    expect(twice.alphaBar[3]! / full.alphaBar[999]!).toBeCloseTo(1, 12);
  });

  it('have a finite logarithm of the first posterior variance, also with only one step', () => {
    expect(full.posteriorVariance[0]).toBe(0);
    expect(full.posteriorLogVariance[0]).toBe(Math.log(full.posteriorVariance[1]!));
    const one = respace(full, 1);
    expect(Array.from(one.timesteps)).toEqual([0]);
    expect(one.posteriorLogVariance[0]).toBe(Math.log(one.betas[0]!));
  });
});

describe('keptSteps', () => {
  it('rounds half to even', () => {
    expect(keptSteps(1000, 7)).toEqual([0, 166, 333, 500, 666, 832, 999]);
    expect(keptSteps(6, 3)).toEqual([0, 2, 5]); // 2.5 goes down
    expect(keptSteps(8, 3)).toEqual([0, 4, 7]); // 3.5 goes up
  });

  it('gives the first sections one more step where they are not equal', () => {
    // 11 steps in three sections: 0 … 3, 4 … 7 and 8 … 10.
    expect(keptSteps(11, '2,1,3')).toEqual([0, 3, 4, 8, 9, 10]);
    expect(keptSteps(11, ' 2, 1 ,3')).toEqual([0, 3, 4, 8, 9, 10]);
  });

  it('takes every i-th for DDIM', () => {
    expect(keptSteps(1000, 'ddim4')).toEqual([0, 250, 500, 750]);
    expect(keptSteps(10, 'ddim10')).toEqual(keptSteps(10, ''));
    expect(keptSteps(10, 'ddim1')).toEqual([0]);
  });

  it('ascends, starts each section with its first step and keeps the number asked for', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 0, max: 9 })), { minLength: 1, maxLength: 4 }),
        (list) => {
          const counts = list.map(([count]) => count);
          const size = Math.max(...list.map(([count, more]) => count + more));
          const kept = keptSteps(size * counts.length, counts.join(','));
          expect(kept.every((step, i) => i === 0 || step > kept[i - 1]!)).toBe(true);
          let at = 0;
          counts.forEach((count, section) => {
            expect(kept[at]).toBe(section * size);
            if (count > 1) expect(kept[at + count - 1]).toBe((section + 1) * size - 1);
            at += count;
          });
          expect(kept).toHaveLength(at);
        },
      ),
    );
  });

  it('refuses what does not fit', () => {
    const keep = (setting: number | string) => (): unknown => keptSteps(10, setting);
    expect(keep(11)).toThrow("keptSteps: respacing: wanted 1 to 10 steps in section 0 of '11', got 11");
    expect(keep('3,6')).toThrow("keptSteps: respacing: wanted 1 to 5 steps in section 1 of '3,6', got 6");
    expect(keep(0)).toThrow("keptSteps: respacing: wanted 1 to 10 steps in section 0 of '0', got 0");
    expect(keep('ddim7')).toThrow("keptSteps: respacing: wanted 'ddimN' where a whole stride gives N of 10 steps, got 'ddim7'");
    for (const odd of [2.5, -1, 'ten', '5,', undefined])
      expect(keep(odd as string)).toThrow("keptSteps: respacing: wanted a number of steps, 'n,n,…' for equal sections, 'ddimN' or ''");
    expect(() => keptSteps(0, 1)).toThrow('keptSteps: steps: wanted an integer at least 1, got 0');
  });
});
