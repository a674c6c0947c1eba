import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

it('the example of the README runs, here for three steps, and comes back to its noise', async () => {
  const file = fileURLToPath(new URL('../example.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', '--conditions=@atelier/source', file, '3']);
  const pattern =
    /^loss (\S+) -> (\S+) nats per dimension after 3 steps\n(\d+\.\d\d) bits per dimension\nfrom noise to images and back: (\S+)\ndenoising moves a pixel by (\S+)\n/;
  const [first, last, bits, back, moved] = pattern.exec(stdout)?.slice(1).map(Number) ?? [];
  expect(last).toBeLessThan(first!);
  expect(bits).toBeGreaterThan(5); // far from trained
  expect(back).toBeLessThan(1e-4);
  expect(moved).toBeGreaterThan(0);
});
