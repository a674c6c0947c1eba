import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

it('the example of the README runs, and 16 of 128 tiles are nearer to dense attention than to nothing', async () => {
  const file = fileURLToPath(new URL('../example.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', '--conditions=@atelier/source', file]);
  expect(stdout).toMatch(
    /^dense \d+\.\d\d s, 16 of 128 tiles \d+\.\d\d s, relative difference \d\.\d{3}\n4 of 32 tiles hold \d+ % of the weights\n$/,
  );
  expect(Number(/difference (\d\.\d+)/.exec(stdout)![1])).toBeLessThan(0.5);
  // 12.5 % by chance.
  expect(Number(/hold (\d+) %/.exec(stdout)![1])).toBeGreaterThan(25);
});
