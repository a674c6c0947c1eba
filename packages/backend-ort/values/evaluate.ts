import type { OrtBackend } from '../src/backend.ts';
import { traceGraph } from '../src/compiled-graph.ts';
import { tf } from '../src/tf.ts';

export type Tensor = tf.Tensor;
/** One argument of float32 on the host. */
export interface Argument {
  data: Float32Array;
  shape: readonly number[];
}

/** The values of f on the engine `ort`: evaluated, and from a compiled graph. */
export function evaluate(f: (...xs: Tensor[]) => Tensor, args: readonly Argument[]): [Float32Array, Float32Array] {
  tf.engine().startScope();
  try {
    const xs = args.map(({ data, shape }) => tf.tensor(data, [...shape], 'float32'));
    const eager = Float32Array.from(f(...xs).dataSync());
    const signature = args.map(({ shape }) => ({ shape: [...shape], dtype: 'float32' as const }));
    const graph = traceGraph(tf.backend() as OrtBackend, signature, (ys) => [f(...ys)], 'values');
    const [y] = graph.run(xs, xs.map(() => false)); // prettier-ignore
    const compiled = Float32Array.from(y!.dataSync());
    graph.dispose();
    return [eager, compiled];
  } finally {
    tf.engine().endScope();
  }
}
