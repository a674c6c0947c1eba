import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

it('the example of the README runs, here for two steps, and prints one row per network', async () => {
  const file = fileURLToPath(new URL('../example.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', '--conditions=@atelier/source', file, '2']);
  const rows = stdout.split('\n').slice(1, 4);
  const found = rows.map((row) => /^(.+?) {2,}([\d,]+) +([\d,]+) +(\d\.\d{3})$/.exec(row)?.slice(1));
  expect(found.map((row) => row?.slice(0, 3))).toEqual([
    ['DiT', '87,332', '4,246,528'],
    ['only windows', '88,116', '3,460,096'],
    ['PSWA', '84,140', '3,103,744'],
  ]);
  // A network that has hardly moved off 0 is as far from the noise as 0 is.
  for (const row of found) expect(Math.abs(Number(row![3]) - 1)).toBeLessThan(0.1);
});
