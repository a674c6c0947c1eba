import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import type { OrtBackend } from '../src/backend.ts';
import { traceGraph, type CompiledGraph } from '../src/compiled-graph.ts';
import { tf } from '../src/tf.ts';
import { useOrt, type Tensor } from './agree.ts';

/** The memory of a result is freed or used again at once, but never while something can still read it. */

const backend = (): OrtBackend => tf.backend() as OrtBackend;
/** Large enough that its memory is kept for later results. */
const SIZE = 2 ** 15;

beforeEach(useOrt);

const compiled = (size: number, fn: (xs: Tensor[]) => Tensor[]): CompiledGraph => {
  const argument = { shape: [size], dtype: 'float32' };
  return traceGraph(backend(), [argument, argument], fn, 'memory');
};
const run = (graph: CompiledGraph, a: Tensor, b: Tensor): Tensor[] => graph.run([a, b], [false, false]);

describe('memory', () => {
  it('does not grow with the number of runs, also if no garbage is collected', () => {
    const size = 2 ** 20;
    const graph = compiled(size, ([a, b]) => [tf.add(a!, b!), tf.mul(a!, b!)]);
    const [a, b] = [tf.fill([size], 2), tf.fill([size], 3)];
    const step = (): void => run(graph, a, b).forEach((x) => x.dispose());
    step();
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 20; i++) step();
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 * 4 * size);
    graph.dispose();
    tf.dispose([a, b]);
  });

  it('of a disposed result is used for the next result', () => {
    const graph = compiled(SIZE, ([a, b]) => [tf.add(a!, b!)]);
    const [a, b] = [tf.fill([SIZE], 2), tf.fill([SIZE], 3)];
    const [x] = run(graph, a, b);
    const memory = backend().hostData(x!.dataId);
    x!.dispose();
    const [y] = run(graph, a, b);
    expect(backend().hostData(y!.dataId)).toBe(memory);
    graph.dispose();
    tf.dispose([a, b, y!]);
  });
});

/** A tensor, and the number that all its elements must have. */
interface Live {
  tensor: Tensor;
  value: number;
}
type Action = { kind: 'call' | 'eager' | 'zeros' | 'alias' | 'trace' | 'dispose' | 'read'; i: number; j: number };

function expectRightValues(actions: readonly Action[]): void {
  /** Graphs that keep the value of a tensor from outside. */
  const graphs: { graph: CompiledGraph; held: number }[] = [];
  const keep = ({ tensor, value }: Live): void => {
    graphs.push({ graph: compiled(SIZE, ([a, b]) => [tf.add(a!, b!), tf.sub(a!, tensor), b!, tensor]), held: value });
  };
  const make = (value: number): Live => ({ tensor: tf.tensor(new Float32Array(SIZE).fill(value).fill(value + 1, 0, 1)), value });
  const live = [make(1), make(2), make(3)];
  keep(live[0]!);
  const check = ({ tensor, value }: Live): void => {
    const data = tensor.dataSync();
    expect([data[1], data[SIZE - 1]]).toEqual([value, value]);
  };
  for (const { kind, i, j } of actions) {
    const [a, b] = [live[i % live.length]!, live[j % live.length]!];
    if (kind === 'call') {
      const { graph, held } = graphs[(i + j) % graphs.length]!;
      const values = [a.value + b.value, a.value - held, b.value, held];
      run(graph, a.tensor, b.tensor).forEach((tensor, k) => live.push({ tensor, value: values[k]! }));
    } else if (kind === 'eager') live.push({ tensor: tf.maximum(a.tensor, b.tensor), value: Math.max(a.value, b.value) });
    else if (kind === 'zeros') live.push({ tensor: tf.zeros([SIZE]), value: 0 });
    else if (kind === 'alias') live.push({ tensor: tf.reshape(tf.reshape(a.tensor, [2, SIZE / 2]), [SIZE]), value: a.value });
    else if (kind === 'trace') keep(a);
    else if (kind === 'read') check(a);
    else if (live.length > 3) {
      a.tensor.dispose();
      live.splice(live.indexOf(a), 1);
    }
  }
  live.forEach(check);
  for (const { graph } of graphs) graph.dispose();
  for (const { tensor } of live) tensor.dispose();
}

describe('a value that is still used', () => {
  it('keeps its memory, whatever is computed and disposed around it', () => {
    const kind = fc.constantFrom<Action['kind'][]>(
      'call',
      'call',
      'eager',
      'zeros',
      'alias',
      'trace',
      'read',
      'dispose',
      'dispose',
      'dispose',
    );
    const action = fc.record({ kind, i: fc.nat(20), j: fc.nat(20) });
    fc.assert(fc.property(fc.array(action, { maxLength: 40 }), expectRightValues), { numRuns: 60 });
  });
});
