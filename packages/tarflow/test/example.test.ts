import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

it('the example of the README runs, here for two steps, and inverts its own samples', async () => {
  const file = fileURLToPath(new URL('../example.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', '--conditions=@atelier/source', file, '2']);
  const [loss, difference] = stdout.split('\n').map((line) => Number(line.split(': ')[1]));
  expect(loss).toBeGreaterThan(-1);
  expect(loss).toBeLessThan(2);
  expect(difference).toBeLessThan(1e-4);
});
