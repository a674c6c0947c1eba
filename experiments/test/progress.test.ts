import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { editDistance, nearest } from '@atelier/tensor';
import { makeProgress, timeText } from '../src/runner/progress.ts';
import { wrap } from '../src/runner/wrap.ts';

it('writes plain lines where there is no terminal: one at the start and one at the end, whole', () => {
  let out = '';
  const progress = makeProgress({ write: (text) => (out += text) }, 1e9);
  progress.start('fm', 3);
  for (const done of [1, 2, 3]) progress.update(done, { loss: done / 4, norm: 2 });
  progress.start('mf', 10, 4);
  progress.update(5, { loss: 1 });
  progress.stop();
  progress.stop();
  expect(out.replace(/\d+(\.\d+)? ms\/step/g, 'T').replace(/ {2}\d+ (s|min|h).* left/g, ' LEFT')).toBe(
    'fm: 3 steps\nfm: 3/3  loss 0.75  norm 2  T\nmf: goes on after step 4 of 10\nmf: 5/10  loss 1  T LEFT\n',
  );
});

describe('on a terminal', () => {
  const drawn = (columns: number): string => {
    let out = '';
    const progress = makeProgress({ isTTY: true, columns, write: (text) => (out += text) });
    progress.start('checkerboard-meanflow-with-a-long-name', 4);
    progress.update(4, { loss: 0.5, 'error r=t': 0.5794, 'error r<t': 1.383 });
    progress.stop();
    return out;
  };

  it('draws one line that it erases, and ends it with a new line', () => {
    vi.stubEnv('TERM', 'xterm');
    const out = drawn(130);
    expect(out).toContain('checkerboard-meanflow-with-a-long-name  ██████████');
    expect(out).toContain('4/4  loss 0.5  error r=t 0.5794');
    expect(out.match(/\n/g)).toHaveLength(1);
    expect(out.endsWith('\n')).toBe(true);
    vi.unstubAllEnvs();
  });

  it.each([20, 40, 80, 142])('fits into %i columns', (columns) => {
    vi.stubEnv('TERM', 'xterm');
    const lines = drawn(columns).trimEnd().split('\r\u001b[2K').slice(1);
    expect(lines).toHaveLength(2);
    for (const line of lines) expect(line.length).toBeLessThan(columns);
    vi.unstubAllEnvs();
  });

  it('that is dumb, writes plain lines without escapes', () => {
    vi.stubEnv('TERM', 'dumb');
    expect(drawn(80)).toMatch(/^checkerboard-meanflow-with-a-long-name: 4 steps\n[^\u001b\r]*\n$/);
    vi.unstubAllEnvs();
  });
});

it('breaks lines at blanks, with an indent', () => {
  expect(wrap('one two three four', 9, 2)).toEqual(['one two', '  three', '  four']);
  expect(wrap('key   a long value', 10, 6)).toEqual(['key   a', '      long', '      value']);
  expect(wrap('unbreakable', 4, 2)).toEqual(['unbreakable']);
  expect(wrap('    unbreakable word', 4, 0)).toEqual(['    unbreakable', 'word']);
  expect(wrap('short', 80, 2)).toEqual(['short']);
  fc.assert(
    fc.property(
      fc.array(fc.stringMatching(/^[a-z]{1,12}$/), { maxLength: 12 }),
      fc.integer({ min: 1, max: 30 }),
      fc.integer({ min: 0, max: 6 }),
      (all, columns, indent) => {
        const lines = wrap(all.join(' '), columns, indent);
        expect(
          lines
            .join(' ')
            .split(/ +/)
            .filter((word) => word !== ''),
        ).toEqual(all);
        for (const line of lines) if (line.trim().includes(' ')) expect(line.length).toBeLessThanOrEqual(columns);
      },
    ),
  );
});

it('tells times and distances of words', () => {
  expect([0.4, 59, 60, 3599, 3600, 7500].map(timeText)).toEqual(['0 s', '59 s', '1 min 0 s', '59 min 59 s', '1 h 0 min', '2 h 5 min']);
  expect([
    editDistance('full', 'full'),
    editDistance('ful', 'full'),
    editDistance('rnu', 'run'),
    editDistance('', 'abc'),
    editDistance('kitten', 'sitting'),
  ]).toEqual([0, 1, 1, 3, 3]);
  expect(nearest('width', ['depth', 'model.width', 'model.height'])).toBe('model.width');
  expect(nearest('x', [])).toBeUndefined();
});
