import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const example = fileURLToPath(new URL('../example.ts', import.meta.url));

it('the example prints fewer evaluations one after the other, and what error they leave', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', '--conditions=@atelier/source', example]);
  const rows = new Map(
    [...stdout.matchAll(/^(.+?) {2,}depth +(\d+) +work +([\d.]+)(?: +error (\S+))?$/gm)].map(([, name, depth, , error]) => [
      name!,
      { depth: Number(depth), error: Number(error ?? 0) },
    ]),
  );
  const of = (name: string): { depth: number; error: number } => rows.get(name)!;
  expect([...rows.keys()]).toEqual(['sequential', 'Jacobi, ε = 1e-6', 'Jacobi, 10 iterations', '[3-8-8-10]', 'exact, with a proof']);
  expect(of('sequential').depth).toBe(252);
  expect(of('Jacobi, ε = 1e-6').depth).toBeLessThan(100);
  expect(of('Jacobi, ε = 1e-6').error).toBeLessThan(1e-5);
  expect(of('[3-8-8-10]').error).toBeLessThan(0.05 * of('Jacobi, 10 iterations').error);
  expect(of('exact, with a proof').error).toBeLessThan(1e-5);
  const shares = /CRM %, block 0 first: +([\d ]+)/.exec(stdout)![1]!.split(' ').map(Number);
  expect(shares.indexOf(Math.max(...shares))).toBe(3);
});
