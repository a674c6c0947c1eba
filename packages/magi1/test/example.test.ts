import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

it('the example learns and makes videos in the scheduled number of forwards', async () => {
  const words = ['--import', 'tsx', '--conditions=@atelier/source', 'example.ts', '30'];
  const { stdout } = await promisify(execFile)(process.execPath, words);
  const losses = [...stdout.matchAll(/loss (\d+\.\d+)/g)].map((match) => Number(match[1]));
  expect(losses).toHaveLength(2);
  expect(losses[1]!).toBeLessThan(0.8 * losses[0]!);
  expect(stdout).toContain('18 forwards of at most 5 chunks');
  expect(stdout.match(/right: (\d+ ){11}\d+\nleft : (\d+ ){11}\d+/)).not.toBeNull();
});
