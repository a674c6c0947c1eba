import { flattenTree, tf, useEngine } from '@atelier/tensor';
import { golden, type Golden, type GoldenFile } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { forward } from './parity/forward.ts';
import { loadModel } from './parity/model.ts';
import { bitsOfPixels, denoising, volumePreserving } from './parity/likelihood.ts';
import { reverse } from './parity/reverse.ts';
import { trainingSteps } from './parity/training.ts';

/** Compares one file with the package and says how many cases or tensors it held. */
type Check = (file: GoldenFile, all: Golden) => number;

const checks: Record<string, Check> = {
  bpd: bitsOfPixels,
  denoise: denoising,
  forward,
  reverse,
  train_steps: trainingSteps,
  vp: volumePreserving,
  weights: (file) => Object.keys(flattenTree(loadModel(file).model)).length,
};

const all = golden('gs-jacobi');

beforeAll(async () => {
  await useEngine();
});

/** Files of the parallel solver, which the package gs-jacobi checks. */
const solver = /^(gsj|crm_igm)/;

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

  it('leaves no file unchecked but those of the solver', () => {
    const unchecked = all.files().filter((name) => !Object.keys(checks).some((prefix) => name.startsWith(prefix)));
    expect(unchecked.filter((name) => !solver.test(name))).toEqual([]);
  });
});
