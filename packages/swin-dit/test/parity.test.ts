import { tf, useEngine } from '@atelier/tensor';
import { golden, type GoldenFile } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { ourChoicePswa } from './parity/pswa.ts';
import { swinBlocks, windowAttentions, windowOps } from './parity/windows.ts';

/** Compares one file with the package and says how many cases it held. */
type Check = (file: GoldenFile) => number;

/** What is checked, by the beginning of the file's name. The other files of this folder belong to the DiT and its diffusion, which `nn` has. */
const checks: Record<string, Check> = {
  window_ops: windowOps,
  window_attention: windowAttentions,
  swin_block: swinBlocks,
  ourchoice_pswa: ourChoicePswa,
};

const all = golden('swin-dit');

beforeAll(async () => {
  await useEngine();
});

describe('parity: windows with the official Swin transformer, PSWA with our own reference', () => {
  for (const [prefix, check] of Object.entries(checks)) {
    it.each(all.files(prefix))('%s', (name) => {
      const scope = tf.engine();
      scope.startScope();
      try {
        expect(check(all.load(name))).toBeGreaterThan(0);
      } finally {
        scope.endScope();
      }
    });
  }
});
