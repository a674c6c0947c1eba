import { describe, expect, it } from 'vitest';
import { readFileSync } from 'node:fs';
import { ditConfig } from '../src/index.ts';

describe('the README', () => {
  it('lists every key of the DiT with its default', () => {
    const text = readFileSync('README.md', 'utf8');
    const defaults = ditConfig.parse({ inChannels: 1, patchSize: 1, width: 4, depth: 1, heads: 1 }) as Record<string, unknown>;
    const listed = [...text.matchAll(/^\| `(\w+)` \| .* \| (must be given|\S+) \|$/gm)].map(([, key, value]) => [key, value]);
    const given = ['inChannels', 'patchSize', 'width', 'depth', 'heads'];
    expect(listed).toEqual(Object.entries(defaults).map(([key, value]) => [key, given.includes(key) ? 'must be given' : String(value)]));
  });
});
