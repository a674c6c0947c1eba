import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

describe('sixty sessions of eight threads', () => {
  it('hold few native threads together, and each computes when it is called again', () => {
    const out = execFileSync(process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'threads-child.ts')], {
      encoding: 'utf8',
      cwd: join(import.meta.dirname, '..'),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const { threads, most, pooled, sessions } = JSON.parse(out.trim().split('\n').at(-1)!) as Record<string, number | null>;
    // Those that are not compiled. Each would hold seven threads, and so would each of the thirty compiled ones.
    expect(sessions).toBe(30);
    expect(pooled).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(64);
    if (threads !== null) expect(threads).toBeLessThan(100);
  });
});
