import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allocateHeads } from '../src/index.ts';

const total = (heads: readonly number[]): number => heads.reduce((a, b) => a + b, 0);

describe('invariant 10: progressive coverage channel allocation', () => {
  it('gives the stated examples', () => {
    const quarters = { rho0: 1 / 4, rho1: 3 / 4 };
    expect(allocateHeads(12, 6, quarters)).toEqual([1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5]);
    expect(allocateHeads(12, 12, quarters)).toEqual([3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9]);
    expect(allocateHeads(4, 4, quarters)).toEqual([1, 2, 2, 3]);
    expect(allocateHeads(2, 3, quarters)).toEqual([1, 2]);
    expect(allocateHeads(1, 4, quarters)).toEqual([1]);
    expect(total(allocateHeads(28, 16, quarters))).toBe(224);
  });

  it('conserves the rounded total, is monotone and stays within 0 and h; turned round it is turned round where nothing ties', () => {
    const share = fc.integer({ min: 0, max: 1000 }).map((n) => n / 1000);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 16 }), share, share, (layers, heads, rho0, rho1) => {
        const a = allocateHeads(layers, heads, { rho0, rho1 });
        const wanted = a.map((_, l) => heads * (layers === 1 ? rho0 : rho0 + ((rho1 - rho0) * l) / (layers - 1)));
        // Half a head is rounded up, also where the sum misses it by its last bits.
        expect(total(a)).toBe(Math.floor(total(wanted) + 0.5 + 1e-6));
        for (const [l, n] of a.entries()) {
          expect(Number.isInteger(n) && n >= 0 && n <= heads).toBe(true);
          if (l > 0) expect((n - a[l - 1]!) * (rho1 >= rho0 ? 1 : -1)).toBeGreaterThanOrEqual(0);
          expect(Math.abs(n - wanted[l]!)).toBeLessThan(1 + 1e-5);
        }
        const rests = wanted.map((z) => Math.round((z - Math.floor(z + 1e-6)) * 1e5));
        if (layers > 1 && new Set(rests).size === layers)
          expect(allocateHeads(layers, heads, { rho0: rho1, rho1: rho0 })).toEqual(a.toReversed());
      }),
    );
  });

  it('refuses shares outside of 0 and 1, and what is no number of layers or heads', () => {
    expect(() => allocateHeads(4, 4, { rho0: -0.1, rho1: 0.5 })).toThrow(
      'allocateHeads: rho0: wanted a finite number at least 0 and at most 1, got -0.1',
    );
    expect(() => allocateHeads(4, 4, { rho0: 0, rho1: 1.5 })).toThrow(
      'allocateHeads: rho1: wanted a finite number at least 0 and at most 1, got 1.5',
    );
    expect(() => allocateHeads(4, 4, { rho0: NaN, rho1: 1 })).toThrow('rho0');
    expect(() => allocateHeads(0, 4, { rho0: 0, rho1: 1 })).toThrow('allocateHeads: layers: wanted an integer at least 1, got 0');
    expect(() => allocateHeads(4, 2.5, { rho0: 0, rho1: 1 })).toThrow('allocateHeads: heads: wanted an integer at least 1, got 2.5');
  });
});
