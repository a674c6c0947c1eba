import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

it('the example of the README runs and prints depth, work and error of every way', async () => {
  const file = fileURLToPath(new URL('../example.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', '--conditions=@atelier/source', file]);
  const rows = stdout
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/ {2,}/));
  const [sequential, jacobi, segmented, exact] = rows.map((row) => ({ depth: Number(row[1]), error: Number(row[3]) }));
  expect(sequential).toEqual({ depth: 252, error: 0 });
  expect(jacobi!.depth).toBe(40);
  expect(segmented!.error).toBeLessThan(0.1 * jacobi!.error);
  expect(exact!.error).toBeLessThan(1e-5);
  expect(exact!.depth).toBeLessThan(126);
});
