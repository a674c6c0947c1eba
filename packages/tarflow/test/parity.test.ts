import { tf, useEngine } from '@atelier/tensor';
import { golden, type Golden, type GoldenFile } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { forward } from './parity/forward.ts';
import { reverse } from './parity/reverse.ts';

/** Compares one file with the package and says how many cases or tensors it held. */
type Check = (file: GoldenFile, all: Golden) => number;

const checks: Record<string, Check> = { forward, reverse };

const all = golden('gs-jacobi');

beforeAll(async () => {
  await useEngine();
});

describe('parity with the official implementation', () => {
  for (const [prefix, check] of Object.entries(checks))
    for (const name of all.files(prefix))
      it(name, () => {
        const scope = tf.engine();
        scope.startScope();
        try {
          expect(check(all.load(name), all)).toBeGreaterThan(0);
        } finally {
          scope.endScope();
        }
      });
});
