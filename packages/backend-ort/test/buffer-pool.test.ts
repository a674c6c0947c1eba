import { beforeAll, describe, expect, it } from 'vitest';
import type { OrtBackend } from '../src/backend.ts';
import { BufferPool } from '../src/buffer-pool.ts';
import { tf } from '../src/tf.ts';
import { useOrt, type Tensor } from './agree.ts';

beforeAll(useOrt);

/** How many arrays of a size a pool has. */
function drained(pool: Pick<BufferPool, 'find'>, size: number): number {
  let count = 0;
  while (pool.find('float32', size) !== undefined) count++;
  return count;
}

describe('arrays of donated tensors', () => {
  it('are kept as far as such arrays were missing', () => {
    const pool = new BufferPool();
    for (let i = 0; i < 100; i++) pool.give('float32', new Float32Array(3));
    expect(pool.find('float32', 3)).toBeUndefined();
    expect(pool.find('float32', 3)).toBeUndefined();
    const given = Array.from({ length: 100 }, () => new Float32Array(3));
    for (const array of given) pool.give('float32', array);
    pool.give('int32', new Int32Array(3));
    expect(given).toContain(pool.find('float32', 3));
    expect(given).toContain(pool.find('float32', 3));
    expect(pool.find('float32', 3)).toBeUndefined();
    expect(pool.find('int32', 3)).toBeUndefined();
  });

  it('of ever new sizes do not fill a table', () => {
    const pool = new BufferPool();
    for (let size = 1; size <= 10_000; size++) pool.find('float32', size);
    expect((pool as unknown as { missing: Map<string, number> }).missing.size).toBeLessThanOrEqual(4096);
    pool.find('float32', 3);
    const given = new Float32Array(3);
    pool.give('float32', given);
    expect(pool.find('float32', 3)).toBe(given);
  });

  it('of tensors that were computed do not pile up, and the state of a loop goes around', () => {
    const backend = tf.backend() as OrtBackend;
    const seen = new Set<unknown>();
    const graph = backend.traceGraph(
      [37, 41].map((size) => ({ shape: [size], dtype: 'float32' })),
      ([state, drawn]) => [tf.add(tf.mul(state!, 0.5), tf.sum(drawn!))],
      'loop',
    );
    let state = tf.linspace(0, 1, 37) as Tensor;
    for (let i = 0; i < 50; i++) {
      const drawn = tf.tidy(() => tf.sigmoid(tf.linspace(i, i + 1, 41)));
      [state] = graph.run([state, drawn], [true, true]) as [Tensor];
      seen.add(backend.hostData(state.dataId));
    }
    // Two arrays, and that of the first state.
    expect(seen.size).toBeLessThanOrEqual(3);
    expect(drained(backend.buffers, 41)).toBeLessThanOrEqual(1);
    state.dispose();
    graph.dispose();
  });
});
