import type { OperatorTime } from '@atelier/backend-ort';
import { compile } from './compile.ts';
import type { Tree } from './tree.ts';

/**
 * Compiles `fn`, runs it on `args` with ONNX Runtime's profiler switched on, and prints the share of time of each operator type, longest
 * first. The arguments are not disposed.
 * @returns the printed rows
 * @throws Error on an engine without a graph, and in the cases in which `compile` throws
 */
export function profile<A extends Tree[], R extends Tree>(fn: (...args: A) => R, ...args: A): OperatorTime[] {
  const compiled = compile(fn);
  try {
    const rows = compiled.profile(...args);
    const total = rows.reduce((sum, { ms }) => sum + ms, 0);
    const nodes = rows.reduce((sum, row) => sum + row.nodes, 0);
    const line = (op: string, ms: number, count: number, share: number): string =>
      `${op.padEnd(24)}${`${(100 * share).toFixed(1)} %`.padStart(8)}${`${ms.toFixed(3)} ms`.padStart(14)}${String(count).padStart(8)} nodes`;
    console.log([...rows.map((row) => line(row.op, row.ms, row.nodes, row.share)), line('all', total, nodes, 1)].join('\n'));
    return rows;
  } finally {
    compiled.dispose();
  }
}
