import type { OrtBackend } from '../src/backend.ts';
import { traceGraph } from '../src/compiled-graph.ts';
import { tf } from '../src/tf.ts';

export type Tensor = tf.Tensor;
/** One argument of float32 on the host. */
export interface Argument {
  data: Float32Array;
  shape: readonly number[];
}
type Function = (...xs: Tensor[]) => Tensor;

const tensorsOf = (args: readonly Argument[]): Tensor[] => args.map(({ data, shape }) => tf.tensor(data, [...shape], 'float32'));

function inScope(f: () => Tensor): Float32Array {
  tf.engine().startScope();
  try {
    return Float32Array.from(f().dataSync());
  } finally {
    tf.engine().endScope();
  }
}

/** The values of f on the engine `ort`. */
export const evaluate = (f: Function, args: readonly Argument[]): Float32Array => inScope(() => f(...tensorsOf(args)));

/** The values of f from a compiled graph. */
export function compiled(f: Function, args: readonly Argument[]): Float32Array {
  const signature = args.map(({ shape }) => ({ shape: [...shape], dtype: 'float32' as const }));
  const graph = traceGraph(tf.backend() as OrtBackend, signature, (xs) => [f(...xs)], 'values');
  try {
    return inScope(() => graph.run(tensorsOf(args), args.map(() => false))[0]!); // prettier-ignore
  } finally {
    graph.dispose();
  }
}
