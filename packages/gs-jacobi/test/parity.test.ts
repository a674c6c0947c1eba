import { tf, useEngine } from '@atelier/tensor';
import { golden, type Golden, type GoldenFile } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { gsjBlock } from './parity/block.ts';
import { crmIgm } from './parity/metrics.ts';
import { gsjSample } from './parity/sample.ts';

/** Compares one file with the package and says how many cases it held. */
type Check = (file: GoldenFile, all: Golden) => number;

/** What is checked, by the beginning of the file's name; the longest that fits counts. The other files are tarflow's. */
const checks: Record<string, Check> = { gsj_block: gsjBlock, gsj_: gsjSample, crm_igm: crmIgm };

const all = golden('gs-jacobi');
const ours = all.files().filter((name) => Object.keys(checks).some((prefix) => name.startsWith(prefix)));

beforeAll(async () => {
  await useEngine();
});

describe('parity with the official implementation', () => {
  it('finds files of every kind', () => {
    for (const prefix of Object.keys(checks)) expect(all.files(prefix).length).toBeGreaterThan(0);
  });
  for (const name of ours)
    it(name, () => {
      const fitting = Object.keys(checks).filter((prefix) => name.startsWith(prefix));
      const check = checks[fitting.sort((a, b) => b.length - a.length)[0]!]!;
      const scope = tf.engine();
      scope.startScope();
      try {
        expect(check(all.load(name), all)).toBeGreaterThan(0);
      } finally {
        scope.endScope();
      }
    });
});
