import { expect, it } from 'vitest';
import { editDistance, nearest } from '@atelier/tensor';
import { makeProgress, timeText } from '../src/runner/progress.ts';

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

it('draws a bar on a terminal and ends it with a new line', () => {
  let out = '';
  const screen = {
    isTTY: true,
    columns: 100,
    write: (text: string) => (out += text),
    cursorTo: () => {},
    on: () => {},
    removeListener: () => {},
  };
  const progress = makeProgress(screen);
  progress.start('fm', 4);
  progress.update(4, { loss: 0.5 });
  progress.stop();
  expect(out).toContain('fm');
  expect(out).toContain('4/4');
  expect(out).toContain('loss 0.5');
  expect(out.endsWith('\n')).toBe(true);
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
