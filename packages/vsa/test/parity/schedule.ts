import { expectClose, type GoldenFile } from '@atelier/testkit';
import { keepFor, officialSparsityAt } from '../../src/index.ts';

/** Sparsity and number of tiles at every step of each schedule; the numbers of tiles are exact. */
export function schedules(file: GoldenFile): number {
  const cases = Object.keys(file.metadata).filter((key) => /^c\d+$/.test(key));
  const tiles = Number(file.setting('num_tiles'));
  for (const name of cases) {
    const { sparsity, decay_rate: rate, interval, mode } = file.settings(name);
    const schedule = { sparsity: Number(sparsity), rate: Number(rate), interval: Number(interval) };
    const steps = [...file.host(`${name}.step`).data];
    const found = steps.map((step) => officialSparsityAt(step, schedule, mode as 'finetune' | 'distill'));
    expectClose(found, file.host(`${name}.sparsity`).data, { abs: 1e-6 }, `${name}.sparsity`);
    expectClose(found.map((s) => keepFor(s, tiles)), file.host(`${name}.topk`).data, {}, `${name}.topk`); // prettier-ignore
  }
  return cases.length;
}
