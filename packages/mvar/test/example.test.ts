import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

it('the example of the README runs, here for two steps, and prints a row for each model', async () => {
  const file = fileURLToPath(new URL('../example.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', '--conditions=@atelier/source', file, '2']);
  const row = /^(\w+) +(\d\.\d+) -> (\d\.\d+) nats per token; attention (\d+) MACs, (\d+) bytes kept; images \[4, 8, 8, 1\]$/;
  const [causal, markov] = stdout.split('\n').slice(0, 2).map((line) => row.exec(line)?.slice(1)); // prettier-ignore
  expect([causal?.[0], markov?.[0]]).toEqual(['VAR', 'MVAR']);
  // Both start from the same weights near ln 32; a network that has hardly moved stays there.
  for (const found of [causal!, markov!])
    for (const loss of found.slice(1, 3)) expect(Math.abs(Number(loss) - Math.log(32))).toBeLessThan(0.2);
  expect(Number(markov![3])).toBeLessThan(Number(causal![3]));
  expect([causal![4], markov![4]]).toEqual(['86016', '0']);
});
