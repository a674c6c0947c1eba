import { beforeEach, describe, expect, it } from 'vitest';
import { compile } from '../src/compile.ts';
import { customGradient } from '../src/custom-gradient.ts';
import { useEngine } from '../src/engine.ts';
import { scan } from '../src/scan.ts';
import { tf, type Tensor } from '../src/tf.ts';

const values = (x: Tensor): number[] => Array.from(x.dataSync());

describe.each(['ort', 'cpu'] as const)('scan on %s', (engine) => {
  beforeEach(() => useEngine(engine));

  it('carries trees along and stacks what is collected', () => {
    const [carry, x] = [
      { sum: tf.tensor1d([1, 2]) as Tensor, n: tf.scalar(0, 'int32') as Tensor },
      tf.tensor2d([1, 1, 2, 2, 3, 3], [3, 2]),
    ];
    const run = compile((start: typeof carry, xs: Tensor) =>
      scan(
        ({ sum, n }, { x }) => {
          const next = tf.add(sum, x);
          return { carry: { sum: next, n: tf.add(n, tf.scalar(1, 'int32')) }, collect: { next, before: sum } };
        },
        start,
        { x: xs },
      ),
    );
    const out = run(carry, x);
    expect(values(out.carry.sum)).toEqual([7, 8]);
    expect(values(out.carry.n)).toEqual([3]);
    expect(out.collected.next.shape).toEqual([3, 2]);
    expect(values(out.collected.next)).toEqual([2, 3, 4, 5, 7, 8]);
    expect(values(out.collected.before)).toEqual([1, 2, 2, 3, 4, 5]);
  });

  it('reads what is outside, and gives the same without compilation', () => {
    const w = tf.tensor2d([0.5, 1, -1, 0.25], [2, 2]);
    const f = (xs: Tensor, outside: Tensor) => {
      const doubled = tf.mul(outside, 2);
      return scan(
        (h: Tensor, x: Tensor) => {
          const next = tf.tanh(tf.add(tf.matMul(h, doubled), tf.mul(x, tf.sum(outside))));
          return { carry: next, collect: [next, tf.mul(doubled, 1), x] };
        },
        tf.zeros([1, 2]),
        xs,
      );
    };
    const xs = tf.tensor3d([1, -1, 0.5, 2, 0, 1], [3, 1, 2]);
    const [lazy, compiled] = [f(xs, w), compile(f)(xs, w)];
    let h = tf.zeros([1, 2]);
    const wanted = tf.unstack(xs).map((x) => (h = tf.tanh(tf.add(tf.matMul(h, tf.mul(w, 2)), tf.mul(x, tf.sum(w))))));
    for (const out of [lazy, compiled]) {
      values(out.carry).forEach((v, i) => expect(v).toBeCloseTo(values(h)[i]!, 6));
      values(out.collected[0]!).forEach((v, i) => expect(v).toBeCloseTo(values(tf.stack(wanted))[i]!, 6));
      expect(values(out.collected[1]!)).toEqual([1, 2, -2, 0.5, 1, 2, -2, 0.5, 1, 2, -2, 0.5]);
      expect(values(out.collected[2]!)).toEqual(values(xs));
    }
  });
});

describe.each(['ort', 'cpu'] as const)('scan on %s, on the side', (engine) => {
  beforeEach(() => useEngine(engine));

  it('has a gradient, repetition by repetition', () => {
    const f = (w: Tensor): Tensor =>
      scan((h: Tensor, x: Tensor) => ({ carry: tf.mul(tf.add(h, x), w), collect: h }), tf.scalar(0), tf.tensor1d([1, 2, 3])).carry;
    // ((w + 2)w + 3)w = w³ + 2w² + 3w
    expect(values(tf.grad(f)(tf.scalar(2)))[0]).toBeCloseTo(3 * 4 + 4 * 2 + 3, 5);
  });

  it('nests, keeps apart two loops that differ only inside, and leaves no tensor behind', () => {
    const power = (x: Tensor, of: (a: Tensor, b: Tensor) => Tensor): Tensor =>
      scan(
        (product: Tensor, row: Tensor) => ({
          carry: scan((p: Tensor, y: Tensor) => ({ carry: of(p, y), collect: y }), product, row).carry,
          collect: row,
        }),
        tf.scalar(1),
        x,
      ).carry;
    const f = compile((x: Tensor) => [power(x, (a, b) => tf.mul(a, b)), power(x, (a, b) => tf.add(a, b))]);
    const x = tf.tensor2d([1, 2, 3, 4], [2, 2]);
    const before = tf.memory().numTensors;
    const [product, sum] = f(x);
    expect(values(product!)).toEqual([24]);
    expect(values(sum!)).toEqual([11]);
    tf.dispose([product!, sum!]);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('refuses what does not fit', () => {
    const same = (carry: Tensor, x: Tensor) => ({ carry, collect: x });
    expect(() => scan(same, tf.scalar(0), tf.scalar(1))).toThrow(
      'scan: sequences: wanted tensors of one length of at least 1 on their first axis, got [a scalar]',
    );
    expect(() => scan((c: Tensor, x: Tensor[]) => ({ carry: c, collect: x }), tf.scalar(0), [tf.ones([2]), tf.ones([3])])).toThrow(
      'scan: sequences: wanted tensors of one length of at least 1 on their first axis, got [2, 3]',
    );
    expect(() =>
      scan(({ h }: { h: Tensor }, x: Tensor) => ({ carry: { h: tf.stack([h, x]) }, collect: x }), { h: tf.scalar(0) }, tf.ones([2])),
    ).toThrow("scan: carry 'h': wanted float32 [] as before, got float32 [2]");
  });
});

describe('scan on ort while gradients are recorded', () => {
  beforeEach(() => useEngine('ort'));

  const sum = (xs: Tensor): Tensor =>
    scan((h: Tensor, x: Tensor) => ({ carry: tf.add(h, x), collect: x }), tf.scalar(0), xs).carry as Tensor;
  const loops = (f: (xs: Tensor) => Tensor): boolean =>
    Buffer.from(compile((xs: Tensor) => tf.grad(f)(xs)).onnx(tf.ones([5])))
      .toString('latin1')
      .includes('Scan');

  it('is unrolled, but inside of a custom gradient it is one operator', () => {
    // The gradient reads the value, so that the loop stays in the graph.
    expect(loops((xs) => tf.square(sum(xs)))).toBe(false);
    const inside = (xs: Tensor): Tensor =>
      customGradient([xs], (v) => {
        const value = sum(v);
        return { value, kept: [value, v], pullback: (dy, kept, like) => [tf.mul(tf.onesLike(like), tf.mul(dy, kept))] };
      });
    expect(loops(inside)).toBe(true);
  });
});
