import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

it('the example distils a teacher to a generator that is nearer to the data in as many steps', async () => {
  const file = fileURLToPath(new URL('../example.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', '--conditions=@atelier/source', file]);
  const [, teacher, distilled] = /teacher (\d+\.\d+), distilled (\d+\.\d+)/.exec(stdout) ?? [];
  expect(Number(distilled) / Number(teacher)).toBeLessThan(0.7);
});
