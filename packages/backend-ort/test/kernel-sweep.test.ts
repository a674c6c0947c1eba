import { beforeAll, describe, expect, it } from 'vitest';
import { hostReasons } from '../src/kernels/host.ts';
import { calls } from '../sweep/calls.ts';
import { faultsOf } from '../sweep/compare.ts';
import { reasonFor } from '../sweep/differences.ts';
import { DTYPES, evaluated, operandsOf, type DType } from '../sweep/modes.ts';
import { emptyAxes, type Call } from '../sweep/table.ts';
import { tf } from '../src/tf.ts';
import { useOrt } from './agree.ts';

/**
 * Every kernel with every type, evaluated once and again, on pending operands, compiled, with constants, and with only one of its results in
 * use. One of the axes is also empty, with one of the types; `pnpm --filter @atelier/backend-ort sweep` has all axes and types.
 */

beforeAll(useOrt);

describe('a call of a kernel gives what cpu gives, in whichever way it is made', () => {
  for (const [at, call] of calls.entries()) {
    it(call.kernel, async () => {
      const faults: string[] = [];
      const axes = emptyAxes(call);
      const cases: { dtype: DType; empty: string | null }[] = DTYPES.map((dtype) => ({ dtype, empty: null }));
      if (axes.length > 0) cases.push({ dtype: DTYPES[at % DTYPES.length]!, empty: axes[at % axes.length]! });
      for (const { dtype, empty } of cases)
        if (reasonFor(call.kernel, dtype, empty) === undefined) faults.push(...(await faultsOf(call, dtype, empty)));
      expect(faults).toEqual([]);
    });
  }

  it('and cpu accepts each call with at least one type', async () => {
    await tf.setBackend('cpu');
    const isRefused = (call: Call): boolean =>
      DTYPES.every((dtype) => evaluated(call, operandsOf(call.operands, dtype, null)) instanceof Error);
    expect(calls.filter(isRefused).map(({ kernel }) => kernel)).toEqual([]);
  });

  it('and every kernel that cpu has and that is not computed on the host is called', () => {
    const called = new Set(calls.map(({ kernel }) => /^\w+/.exec(kernel)![0]));
    const theirs = (tf.getKernelsForBackend('cpu') as { kernelName: string }[]).map(({ kernelName }) => kernelName);
    expect(theirs.filter((name) => !called.has(name) && !(name in hostReasons))).toEqual([]);
  });
});
