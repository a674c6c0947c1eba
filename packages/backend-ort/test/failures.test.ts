import { beforeEach, describe, expect, it } from 'vitest';
import type { OrtBackend } from '../src/backend.ts';
import { traceGraph } from '../src/compiled-graph.ts';
import { traceScan } from '../src/scan.ts';
import { tf } from '../src/tf.ts';
import { useOrt, type Tensor } from './agree.ts';

const backend = (): OrtBackend => tf.backend() as OrtBackend;
const x = (): Tensor => tf.tensor1d([1, 2, 3]);
/** An index that is only known to be too large once it is computed. */
const badGather = (by = 1): Tensor => tf.gather(x(), tf.add(tf.tensor1d([3], 'int32'), tf.scalar(by, 'int32')) as never);

beforeEach(useOrt);

describe('a tensor that cannot be computed', () => {
  it('says why, with the kernel and the operator, the same at every read', () => {
    const bad = badGather();
    const said = [0, 1, 2].map(() => {
      try {
        bad.dataSync();
      } catch (error) {
        return (error as Error).message;
      }
      return 'nothing';
    });
    expect(said[0]).toMatch(/^ort GatherV2 \(Gather\): indices element out of data bounds/);
    expect(new Set(said).size).toBe(1);
    bad.dispose();
  });

  it('does not affect compiling, compiled calls and a new engine', async () => {
    const bad = badGather();
    expect(() => bad.dataSync()).toThrow(/Gather/);
    const fresh = badGather(2);
    const graph = traceGraph(backend(), [{ shape: [1], dtype: 'float32' }], ([v]) => [tf.add(v!, 1)], 'beside');
    expect(Array.from(graph.run([tf.tensor1d([1])], [false])[0]!.dataSync())).toEqual([2]);
    expect(() => fresh.dataSync()).toThrow(/Gather/);
    const { kernelMs } = await backend().time(() => void tf.add(x(), 1));
    expect(kernelMs).toBeGreaterThanOrEqual(0);
    graph.dispose();
    for (const one of [bad, fresh]) one.dispose();
  });

  it('does not affect a loop that reaches the limit of pending results', () => {
    const bad = badGather();
    let y = tf.fill([2 ** 20], 1);
    // 4 MiB a repetition, past the bound of 1 GiB; nothing is read.
    for (let i = 0; i < 300; i++) {
      const next = tf.add(y, 1);
      y.dispose();
      y = next;
    }
    expect(y.dataSync()[7]).toBe(301);
    expect(() => bad.dataSync()).toThrow(/Gather/);
    bad.dispose();
  });

  it('takes along only what depends on it', () => {
    const bad = badGather();
    const [dependent, beside] = [tf.add(bad, 1), tf.mul(x(), 2)];
    expect(Array.from(beside.dataSync())).toEqual([2, 4, 6]);
    const later = tf.concat([tf.neg(bad), x()]);
    expect(() => later.dataSync()).toThrow(/^ort GatherV2/);
    expect(() => dependent.dataSync()).toThrow(/^ort GatherV2/);
    for (const one of [bad, dependent, later]) one.dispose();
  });

  it('is tried once: reads beside it make no further sessions', () => {
    const bad = badGather();
    expect(tf.add(x(), 1).dataSync()[0]).toBe(2);
    const read = (i: number): number => tf.tidy(() => tf.sum(tf.mul(x(), i)).dataSync()[0]!);
    expect(read(1)).toBeCloseTo(6, 5);
    const made = backend().sessions.created;
    for (let i = 0; i < 200; i++) expect(read(i)).toBeCloseTo(6 * i, 3);
    expect(backend().sessions.created).toBe(made);
    bad.dispose();
  });

  it('is one of many: all the others are read', () => {
    const all = Array.from({ length: 40 }, (_, i) => (i % 5 === 2 ? badGather(i) : tf.mul(x(), i)));
    all.forEach((one, i) => {
      if (i % 5 === 2) expect(() => one.dataSync()).toThrow(/Gather/);
      else expect(Array.from(one.dataSync())).toEqual([i, 2 * i, 3 * i]);
    });
    for (const one of all) one.dispose();
  });

  it('may fail inside a loop in the graph', () => {
    const step = ([at]: Tensor[], [row]: Tensor[]): { carry: Tensor[]; collected: Tensor[] } => ({
      carry: [tf.add(at!, tf.scalar(2, 'int32'))],
      collected: [tf.gather(row!, at as never)],
    });
    const loop = (): Tensor => tf.tidy(() => traceScan(backend(), [tf.scalar(0, 'int32')], [tf.ones([4, 3])], step).collected[0]!);
    const [bad, beside] = [loop(), tf.add(x(), 1)];
    expect(Array.from(beside.dataSync())).toEqual([2, 3, 4]);
    expect(() => bad.dataSync()).toThrow(/Gather|indices/);
    for (const one of [bad, beside]) one.dispose();
  });
});

describe('an operator with several results', () => {
  const values = (t: Tensor): number[] => Array.from(t.dataSync());
  const parts: Record<string, { f: (v: Tensor) => Tensor; wanted: number[] }> = {
    'places of topk': { f: (v) => tf.topk(v, 2).indices, wanted: [0, 2] },
    'values of topk': { f: (v) => tf.topk(v, 2).values, wanted: [3, 2] },
    'one part of split': { f: (v) => tf.split(v, 3)[1]!, wanted: [1] },
    'places of the largest in windows': {
      f: (v) => tf.maxPoolWithArgmax(tf.reshape(v, [1, 1, 3, 1]) as never, [1, 2], 1, 'valid').indexes as Tensor,
      wanted: [0, 2],
    },
    'variance of moments': { f: (v) => tf.moments(v).variance, wanted: [2 / 3] },
  };
  for (const [name, { f, wanted }] of Object.entries(parts)) {
    it(`is read in part: ${name}`, () => {
      const v = tf.tensor1d([3, 1, 2]);
      const check = (got: number[]): void => got.forEach((value, i) => expect(value).toBeCloseTo(wanted[i]!, 5));
      check(values(f(v)));
      const graph = traceGraph(backend(), [{ shape: [3], dtype: 'float32' }], ([u]) => [f(u!)], name);
      check(values(graph.run([v], [false])[0]!));
      const loop = tf.tidy(
        () =>
          traceScan(backend(), [tf.scalar(0)], [tf.stack([v, v])], ([carry], [row]) => ({ carry: [carry!], collected: [f(row!)] }))
            .collected[0]!,
      );
      check(values(loop).slice(0, wanted.length));
      graph.dispose();
    });
  }
});
