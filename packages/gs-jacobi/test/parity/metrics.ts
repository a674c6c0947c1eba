import { tf } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import { expect } from 'vitest';
import { convergenceMetrics, normKinds } from '../../src/index.ts';
import { taggedModel, toNHWC } from './model.ts';

/** CRM and IGM of every model in the file, under every norm: columns [Z, zero] and [‖·‖, ‖W_s‖, ‖W_u‖, CRM]. */
export function crmIgm(file: GoldenFile, all: Golden): number {
  let cases = 0;
  for (const key of file.keys().filter((name) => name.endsWith('.x'))) {
    const tag = key.slice(0, -2);
    const { model, config } = taggedModel(all, tag);
    const x = toNHWC(file.tensor(key));
    for (const norm of normKinds) {
      if (!file.has(`${tag}.igm_raw.${norm}`)) continue;
      // In uneven parts, whose sums must not depend on how they are cut.
      const metrics = convergenceMetrics(model, x, config, { norm, batch: Math.ceil((2 * x.shape[0]!) / 3) });
      const igm = metrics.flatMap((one) => [one.igm.z, one.igm.zero]);
      const crm = metrics.flatMap((one) => [one.scaledInput, one.scaleWeight, one.shiftWeight, one.crm]);
      expectClose(igm, file.host(`${tag}.igm_raw.${norm}`).data, { abs: 1e-5 }, `${tag}.igm_raw.${norm}`);
      expectClose(crm, file.host(`${tag}.crm_raw.${norm}`).data, { abs: 1e-5 }, `${tag}.crm_raw.${norm}`);
      cases++;
      if (norm !== '2') continue;
      const rounded = (values: readonly number[], name: string): void => {
        const official = file.host(`${tag}.${name}`).data;
        values.forEach((value, i) => expect(Math.abs(value - official[i]!), `${name} ${i}`).toBeLessThanOrEqual(0.005 + 1e-5));
      };
      rounded(igm, 'igm_rounded');
      rounded(crm, 'crm_rounded');
    }
    tf.dispose(x);
  }
  return cases;
}
