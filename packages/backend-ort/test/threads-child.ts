import { traceGraph, type CompiledGraph } from '../src/compiled-graph.ts';
import { registerOrt } from '../src/register.ts';
import { nativeThreads, pooledThreads } from '../src/thread-pools.ts';
import { OrtBackend } from '../src/backend.ts';
import { tf } from '../src/tf.ts';

/** Sixty structures with work for eight threads, half of them compiled, each called twice; prints the threads of this process and of the pools. */
registerOrt({ threads: 8 });
await tf.setBackend('ort');
const backend = tf.backend() as OrtBackend;
const product = (n: number) =>
  tf
    .matMul(tf.fill([n, 128], 0.5), tf.fill([128, 128], 2))
    .sum()
    .dataSync()[0]!;
const graphs: CompiledGraph[] = [];
const check = (n: number, sum: number): void => {
  if (sum !== n * 128 * 128) throw new Error(`threads: wanted ${n * 128 * 128} as the sum of product ${n}, got ${sum}`);
};
let most = 0;
for (let round = 0; round < 2; round++) {
  for (let i = 0; i < 60; i++) {
    const n = 70 + i;
    if (i % 2 === 0)
      check(
        n,
        tf.tidy(() => product(n)),
      );
    else {
      const at = (i - 1) / 2;
      graphs[at] ??= traceGraph(backend, [{ shape: [n, 128], dtype: 'float32' }], ([x]) => [tf.matMul(x!, tf.ones([128, 128])).sum()], 'p');
      check(
        n,
        tf.tidy(() => graphs[at]!.run([tf.ones([n, 128])], [false])[0]!.dataSync()[0]!),
      );
    }
    most = Math.max(most, pooledThreads());
  }
}
console.log(JSON.stringify({ threads: nativeThreads(), most, pooled: pooledThreads(), sessions: backend.sessions.size }));
