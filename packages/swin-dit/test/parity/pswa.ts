import { ditBlock, silu, type DiTBlockParams } from '@atelier/nn';
import type { Tensor } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import { expect } from 'vitest';
import { allocateHeads, pswa, pswaBranches, type PswaLayer, type SwinDiTBlockParams } from '../../src/index.ts';
import { parametersOf, tuples } from './cases.ts';
import { expectGradientsOf, VALUE } from './gradients.ts';

/**
 * PSWA blocks and head allocations. These numbers are not official: they are an independent evaluation of the equations that this package states, with
 * windows cut by Swin's own functions.
 */
export function ourChoicePswa(file: GoldenFile): number {
  const cases = tuples(file, 'cases');
  cases.forEach(([, heads, h, w, window, windowHeads], i) => {
    const name = `p${i}`;
    const layer: PswaLayer = { grid: { h: h!, w: w! }, heads: heads!, windowHeads: windowHeads!, window: window!, shift: 0 };
    const inputs = {
      params: parametersOf(file, `${name}.w.`) as SwinDiTBlockParams,
      x: file.tensor(`${name}.in.x`),
      c: file.tensor(`${name}.in.c`),
    };
    const run = (at: typeof inputs, attend: (u: Tensor) => Tensor): Tensor =>
      ditBlock(at.params as DiTBlockParams, at.x, silu(at.c), attend);
    const out = run(inputs, (u) => {
      const { window: attended, bridge } = pswaBranches(inputs.params.attn, layer)(u);
      const taps = { window: attended, bridge, attn: pswa(inputs.params.attn, layer)(u) };
      for (const [tap, value] of Object.entries(taps)) {
        expect([tap, file.has(`${name}.act.${tap}`)]).toEqual([tap, value !== undefined]);
        if (value !== undefined) expectClose(value, file.host(`${name}.act.${tap}`), VALUE, `${name}.${tap}`);
      }
      return taps.attn;
    });
    expectClose(out, file.host(`${name}.out`), VALUE, name);
    expectGradientsOf(file, name, inputs, (at) => run(at, pswa(at.params.attn, layer)));
  });
  const schedules = file.tensor('pcca.cases').arraySync() as number[][];
  schedules.forEach(([depth, heads, rho0, rho1], i) =>
    expect(allocateHeads(depth!, heads!, { rho0: rho0! / 1000, rho1: rho1! / 1000 })).toEqual(Array.from(file.host(`pcca${i}.heads`).data)),
  );
  return cases.length + schedules.length;
}
