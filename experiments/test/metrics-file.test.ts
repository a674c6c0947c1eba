import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { MetricsFile } from '../src/runner/metrics-file.ts';
import { temporaryFolder } from './child.ts';

const file = (): string => join(temporaryFolder(), 'metrics.jsonl');

it('appends lines, and forgets those of one series above a step', async () => {
  const path = file();
  const metrics = await MetricsFile.open(path);
  for (const step of [1, 2, 3]) for (const series of ['a', 'b']) metrics.append(series, step, { loss: step / 2 });
  await metrics.rewind('a', 1);
  metrics.sync();
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
  expect(lines).toEqual([
    '{"series":"a","step":1,"loss":0.5}',
    '{"series":"b","step":1,"loss":0.5}',
    '{"series":"b","step":2,"loss":1}',
    '{"series":"b","step":3,"loss":1.5}',
  ]);
  metrics.append('a', 2, { loss: 7 });
  expect(metrics.lines.at(-1)).toEqual({ series: 'a', step: 2, loss: 7 });
  expect(readFileSync(path, 'utf8').trimEnd().split('\n')).toHaveLength(5);
});

it('does not double a line that a resumed run writes again, but keeps one that was forgotten and is written anew', async () => {
  const path = file();
  const before = await MetricsFile.open(path);
  before.append('run', 0, { parameters: 10 });
  before.append('a', 1, { loss: 1 });
  before.append('a', 2, { loss: 2 });
  const again = await MetricsFile.open(path);
  await again.rewind('a', 1);
  again.append('run', 0, { parameters: 10 });
  again.append('a', 2, { loss: 2 });
  again.append('run', 0, { width: 3 });
  expect(
    readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
  ).toEqual([
    { series: 'run', step: 0, parameters: 10 },
    { series: 'a', step: 1, loss: 1 },
    { series: 'a', step: 2, loss: 2 },
    { series: 'run', step: 0, width: 3 },
  ]);
});

it('drops a last line that was cut and refuses numbers that are not finite and names that are taken', async () => {
  const path = file();
  writeFileSync(path, '{"series":"a","step":1,"loss":1}\n{"series":"a","st');
  const metrics = await MetricsFile.open(path);
  expect(readFileSync(path, 'utf8')).toBe('{"series":"a","step":1,"loss":1}\n');
  expect(() => metrics.append('a', 2, { loss: NaN })).toThrow("log: wanted finite numbers, got loss = NaN at step 2 of 'a'");
  expect(() => metrics.append('a', 2, { step: 1 })).toThrow("log: 'step' is taken; give the metric another name");
  expect(metrics.lines).toHaveLength(1);
});
