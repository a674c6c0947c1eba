import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

it('the example trains a DiT whose guided samples vary along the axis of their class', async () => {
  const file = fileURLToPath(new URL('../example.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', '--conditions=@atelier/source', file]);
  const [, share] = /axis of the class: (\d+\.\d+)/.exec(stdout) ?? [];
  // Noise has 1/8 there, the data 1.
  expect(Number(share)).toBeGreaterThan(0.9);
});
