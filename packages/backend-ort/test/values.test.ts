import { beforeAll, describe, expect, it } from 'vitest';
import { complexKernels } from '../src/kernels/complex.ts';
import { host } from '../src/kernels/host.ts';
import { kernels } from '../src/register.ts';
import { measure } from '../values/elementwise.ts';
import { elementwise, exactKernels, measureSum, summing } from '../values/table.ts';
import { useOrt } from './agree.ts';

/** The short form of `pnpm --filter @atelier/backend-ort values`, which writes the table of CONFORMANCE.md. */
const INPUTS = 2000;

beforeAll(useOrt);

describe('the largest error against float64', () => {
  for (const one of elementwise)
    it(`${one.kernel}: at most ${one.bound} ulp over special numbers, random bits and ordinary numbers`, () => {
      const { normal, tiny, at } = measure(one, INPUTS, Number(process.env.ATELIER_TEST_SEED ?? 1));
      expect(normal, at).toBeLessThanOrEqual(one.bound);
      expect(tiny, 'below the smallest normal number, in units of 2⁻¹⁴⁹').toBeLessThanOrEqual(one.tiny?.bound ?? 1);
    });
  for (const one of summing.filter(({ long }) => !long))
    it(`${one.kernel}, ${one.about}: at most ${one.bound} ulp of the sum of the absolute values`, async () => {
      const { normal, tiny, at } = await measureSum(one);
      expect(normal, at).toBeLessThanOrEqual(one.bound);
      expect(tiny).toBeLessThanOrEqual(1);
    });

  it('is known for every kernel that rounds', () => {
    const measured = new Set([...elementwise, ...summing].map(({ kernel }) => kernel));
    const all = new Set([...Object.keys(kernels), ...Object.keys(complexKernels(kernels))].filter((name) => !(name in host)));
    expect([...all].filter((name) => !measured.has(name) && !exactKernels.has(name))).toEqual([]);
    expect([...measured, ...exactKernels].filter((name) => !all.has(name))).toEqual([]);
    expect([...measured].filter((name) => exactKernels.has(name))).toEqual([]);
  });
});
