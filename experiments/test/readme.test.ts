import { execFile } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const run = promisify(execFile);
const root = new URL('../../', import.meta.url);

/** The one TypeScript program of a README. */
function programOf(readme: string): string {
  const [, program] = /```ts\n([\s\S]*?)```/.exec(readFileSync(new URL(readme, root), 'utf8')) ?? [];
  if (program === undefined) throw new Error(`${readme}: wanted a TypeScript program, got none`);
  return program;
}

describe('the program in the README', () => {
  it('trains a layers model to draw near [1, 1] in one step', async () => {
    const file = fileURLToPath(new URL('readme-program.mts', import.meta.url));
    writeFileSync(file, programOf('README.md'));
    try {
      const { stdout } = await run(process.execPath, ['--import', 'tsx', '--conditions=@atelier/source', file]);
      const mean = [...stdout.matchAll(/-?\d+\.\d+/g)].map(Number);
      expect(mean).toHaveLength(2);
      for (const coordinate of mean) expect(Math.abs(coordinate - 1)).toBeLessThan(0.15);
    } finally {
      rmSync(file, { force: true });
    }
  });
});
