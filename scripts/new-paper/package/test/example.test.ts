import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

it('the example of the README samples a Gaussian near the one it learnt', async () => {
  const words = ['--import', 'tsx', '--conditions=@atelier/source', 'example.ts'];
  const { stdout } = await promisify(execFile)(process.execPath, words);
  const [x, y, wide, narrow] = [...stdout.matchAll(/-?\d+\.\d+/g)].map(Number);
  expect(Math.hypot(x! - 1, y! + 0.5)).toBeLessThan(0.25);
  expect(wide! / narrow!).toBeGreaterThan(2.5);
});
