import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { casesOf, mutatedKinds, readMutated } from '../mutations/index.ts';
import { temporaryFolder } from './child.ts';

/** `pnpm bench mutate` reads 100,000. */
const CASES = 2000;
const seed = Number(process.env['ATELIER_TEST_SEED'] ?? 0);

describe(`${CASES} changed inputs, seed ${seed}: each is refused with one sentence, or read as what it says`, () => {
  const place = temporaryFolder();

  it.each(mutatedKinds.map((kind) => [kind.name, kind] as const))('%s', async (name, kind) => {
    const folder = join(place, name.replaceAll(/\W/g, '-'), 'inputs');
    mkdirSync(folder, { recursive: true });
    const { tried, refused, accepted, faults } = await readMutated(kind, { seed, count: casesOf(kind, CASES), folder });
    expect(faults).toEqual([]);
    expect(refused + accepted).toBe(tried);
    // A generator that only makes what is refused at once, or what changes nothing, would test little.
    expect(refused).toBeGreaterThan(0);
  });
});
