import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import type { OrtBackend } from '../src/backend.ts';
import { tf } from '../src/tf.ts';
import { sample, useOrt, type Tensor } from './agree.ts';

/** A program without `compile` that runs again goes along a known path: it makes no nodes, no sessions, and gives the same bits. */

const backend = (): OrtBackend => tf.backend() as OrtBackend;
const t = (shape: number[], seed = 1): Tensor => tf.tensor(sample(shape, seed).data, shape);
const bits = (x: Tensor): number[] => Array.from(x.dataSync());

/** What the engine has made so far. */
const made = () => ({ sessions: backend().sessions.created, steps: backend().calls.recorded });
const replays = (): number => backend().calls.replayed;

beforeEach(useOrt);

/** Runs `f` twice and once more, and checks that only the first run made anything. */
function expectReplay(f: () => number[][]): void {
  const run = (): number[][] => tf.tidy(f);
  backend().flush();
  const first = run();
  const [before, paths] = [made(), replays()];
  for (let i = 0; i < 3; i++) {
    expect(run()).toEqual(first);
    expect(backend().graph.size).toBe(0);
  }
  expect(made()).toEqual(before);
  expect(replays()).toBeGreaterThanOrEqual(paths + 3);
}

describe('a program that runs again', () => {
  it('makes no node and no session: arithmetic, products, several results, lists', () => {
    expectReplay(() => {
      const x = t([4, 6]);
      const y = tf.relu(tf.add(tf.matMul(x, t([6, 3], 2)), tf.zeros([3])));
      const { values, indices } = tf.topk(y, 2);
      const [a, b] = tf.split(tf.concat([y, tf.ones([4, 1])], 1), 2, 1) as [Tensor, Tensor];
      return [values, indices, tf.clone(tf.mul(a, b)), tf.reshape(y, [12])].map(bits);
    });
  });

  it('makes none for a recurrent layer', async () => {
    const model = tf.sequential({ layers: [tf.layers.lstm({ units: 5, inputShape: [7, 3] }), tf.layers.dense({ units: 2 })] });
    const x = t([2, 7, 3]);
    expectReplay(() => [bits(model.predict(x) as Tensor)]);
    const ort = bits(model.predict(x) as Tensor);
    await tf.setBackend('cpu');
    bits(model.predict(x) as Tensor).forEach((value, i) => expect(ort[i]).toBeCloseTo(value, 5));
  });

  it('makes none for a training step, whose weights change', async () => {
    const kernelInitializer = (seed: number) => tf.initializers.glorotUniform({ seed });
    const layers = [
      tf.layers.dense({ units: 4, inputShape: [3], kernelInitializer: kernelInitializer(1) }),
      tf.layers.dense({ units: 1, kernelInitializer: kernelInitializer(2) }),
    ];
    const model = tf.sequential({ layers });
    model.compile({ optimizer: tf.train.adam(0.05), loss: 'meanSquaredError' });
    const [x, y] = [t([8, 3]), t([8, 1], 2)];
    const losses: number[] = [];
    for (let i = 0; i < 4; i++) losses.push((await model.trainOnBatch(x, y)) as number);
    const before = made();
    for (let i = 0; i < 20; i++) losses.push((await model.trainOnBatch(x, y)) as number);
    expect(made()).toEqual(before);
    expect(losses.at(-1)).toBeLessThan(losses[0]!);
  });

  it('makes none for a loop that reads after every second operator, for any numbers', () => {
    const loop = (): number => {
      let [x, sum] = [tf.tensor1d([1, 2, 3]) as Tensor, 0];
      for (let i = 0; i < 20; i++) {
        x = tf.add(tf.mul(x, 0.9), (i + 2) / 7);
        sum += x.dataSync()[0]!;
      }
      return sum;
    };
    const first = tf.tidy(loop);
    const before = made();
    expect(tf.tidy(loop)).toBe(first);
    expect(made()).toEqual(before);
  });
});

describe('a program that differs from a known one', () => {
  const program = (x: Tensor, c: number, y: Tensor = x): number[] => tf.tidy(() => bits(tf.sub(tf.mul(tf.add(x, c), y), tf.add(x, c))));
  const right = (x: number[], c: number, y: number[] = x): number[] =>
    x.map((v, i) => Math.fround(Math.fround(Math.fround(v + c) * y[i]!) - Math.fround(v + c)));

  it('has its own values: other numbers, 0 and 1, shapes, and tensors that are equal or the same', () => {
    for (let round = 0; round < 3; round++) {
      for (const c of [2, 0, 1, 0.5, -0]) {
        for (const x of [[1, 2, 3], [4, 5], [7], [1, 1, 1], [0, 0]]) {
          const twice = (): Tensor => tf.tensor1d(x);
          expect(program(twice(), c)).toEqual(right(x, Math.fround(c)));
          expect(program(twice(), c, twice())).toEqual(right(x, Math.fround(c)));
          expect(program(twice(), c, tf.tensor1d(x.map((v) => v + 1)))).toEqual(right(x, Math.fround(c), x.map((v) => v + 1))); // prettier-ignore
        }
      }
    }
  });

  it('may use a tensor in another shape, or two tensors that one evaluation found equal', () => {
    const x = t([2, 3]);
    const [a, b] = [tf.exp(x), tf.exp(x)];
    const [va, c] = [bits(a), tf.neg(x)];
    const vc = bits(c);
    for (let round = 0; round < 3; round++) {
      expect(tf.tidy(() => bits(tf.sub(a, b)))).toEqual([0, 0, 0, 0, 0, 0]);
      expect(tf.tidy(() => bits(tf.sub(a, c)))).toEqual(va.map((v, i) => Math.fround(v - vc[i]!)));
      expect(tf.tidy(() => bits(tf.transpose(tf.reshape(a, [3, 2]))))).toEqual([0, 2, 4, 1, 3, 5].map((i) => va[i]));
    }
  });

  it('may take another branch, with other attributes, in the middle of a path', () => {
    const walk = (turns: readonly boolean[]): number[] =>
      tf.tidy(() => {
        let x: Tensor = tf.tensor1d([5, -3, 2]);
        turns.forEach((turn, i) => (x = turn ? tf.add(tf.mul(x, i + 2), 1) : tf.sub(tf.reverse(x), tf.slice(x, [i % 3], [1]))));
        return bits(x);
      });
    const known = new Map<string, number[]>();
    for (let round = 0; round < 3; round++) {
      for (let code = 0; code < 32; code++) {
        const turns = Array.from({ length: 5 }, (_, i) => ((code >> i) & 1) === 1);
        const found = walk(turns);
        expect(found).toEqual(known.get(turns.join()) ?? found);
        known.set(turns.join(), found);
      }
    }
    expect(walk([true, false])).toEqual([10, 0, 16]);
  });

  it('may dispose other tensors in between, and keep other results', () => {
    const run = (keep: number): number[][] =>
      tf.tidy(() => {
        const x = tf.tensor1d([1, 2, 3, 4]);
        const parts = [tf.square(x), tf.sum(x), tf.mul(x, x), tf.cumsum(x)];
        x.dispose();
        const last = tf.add(parts[0]!, parts[3]!);
        parts.forEach((part, i) => ((keep >> i) & 1) === 0 && part.dispose());
        return [bits(last), ...parts.filter((part) => !part.isDisposed).map(bits)];
      });
    const all = [[1, 4, 9, 16], [10], [1, 4, 9, 16], [1, 3, 6, 10]];
    for (let round = 0; round < 3; round++) {
      for (let keep = 0; keep < 16; keep++) expect(run(keep)).toEqual([[2, 7, 15, 26], ...all.filter((_, i) => ((keep >> i) & 1) === 1)]);
    }
  });

  it('reports an operator that fails at every run, and gives what can be computed', () => {
    for (let round = 0; round < 3; round++) {
      tf.tidy(() => {
        const x = tf.tensor1d([1, 2, round]);
        const [bad, good] = [tf.gather(x, tf.cast(tf.mul(x, 40), 'int32')), tf.add(x, 1)];
        expect(bits(good)).toEqual([2, 3, round + 1]);
        expect(() => bad.dataSync()).toThrow(/Gather/);
      });
    }
    // The same calls with other values do not fail.
    expect(tf.tidy(() => bits(tf.gather(tf.tensor1d([5, 6, 7]), tf.tensor1d([2, 0], 'int32'))))).toEqual([7, 5]);
  });

  it('stays right when a compiled call takes the memory of a tensor on its path', async () => {
    const { traceGraph } = await import('../src/compiled-graph.ts');
    const graph = traceGraph(backend(), [{ shape: [3], dtype: 'float32' }], ([x]) => [tf.exp(x!)], 'exp');
    for (let round = 0; round < 4; round++) {
      const x = tf.tensor1d([round + 1, 2, 3]);
      const y = tf.mul(x, 2);
      const [z] = graph.run([x], [true]);
      graph.run([z!], [true])[0]!.dispose();
      expect(bits(y)).toEqual([2 * round + 2, 4, 6]);
      y.dispose();
    }
  });
});

describe('paths of programs', () => {
  const memory = (): number => backend().calls.size;

  it('stay bounded when an attribute or a shape changes at every call', () => {
    for (let i = 0; i < 400; i++) {
      const x = tf.range(0, 500, 1);
      expect(tf.tidy(() => bits(tf.slice(tf.add(x, 1), [i], [2])))).toEqual([i + 1, i + 2]);
      x.dispose();
    }
    expect(memory()).toBeLessThan(1000);
  });
});

/** Operators whose last bit IEEE 754 fixes: the engine computes small graphs of them itself. */
const exact: Record<string, (a: Tensor, b: Tensor) => Tensor> = {
  add: (a, b) => tf.add(a, b),
  sub: (a, b) => tf.sub(a, b),
  mul: (a, b) => tf.mul(a, b),
  div: (a, b) => tf.div(a, b),
  square: (a) => tf.square(a),
  sqrt: (a) => tf.sqrt(a),
  neg: (a) => tf.neg(a),
  abs: (a) => tf.abs(a),
  floor: (a) => tf.floor(a),
  ceil: (a) => tf.ceil(a),
  choice: (a, b) => tf.cast(tf.where(tf.greater(a, b), tf.lessEqual(a, 0), tf.equal(a, b)), 'float32'),
  logic: (a, b) => tf.cast(tf.logicalOr(tf.lessEqual(a, b), tf.logicalNot(tf.equal(a, 0))), 'float32'),
  notEqual: (a, b) => tf.cast(tf.notEqual(a, b), 'float32'),
  reshape: (a, b) =>
    tf
      .add(tf.reshape(a, [a.size, 1]), tf.reshape(b, [1, b.size]))
      .slice([0, 0], [a.size, 1])
      .reshape(a.shape),
  spread: (a, b) => tf.add(tf.broadcastTo(tf.reshape(a, [1, ...a.shape]), [2, ...a.shape]), b).gather(0),
};

describe('a tiny graph in JavaScript', () => {
  it('gives the bits that ONNX Runtime gives', () => {
    const float = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }).map((word) => new Float32Array(Int32Array.of(word).buffer)[0]!);
    const values = fc.array(fc.oneof(float, fc.constantFrom(0, -0, 1, -1, NaN, Infinity, -Infinity, 1e-45, 3.4e38, 0.1)), {
      minLength: 4,
      maxLength: 4,
    });
    const names = fc.array(fc.constantFrom(...Object.keys(exact)), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(values, values, names, ([...x], [...y], steps) => {
        backend().calls.forget();
        backend().flush();
        const run = (): number[] =>
          tf.tidy(() => {
            const b = tf.tensor(y, [2, 2]);
            let a: Tensor = tf.tensor(x, [2, 2]);
            for (const name of steps) a = exact[name]!(a, b);
            return bits(a);
          });
        const first = run();
        for (let i = 0; i < 2; i++) expect(run()).toEqual(first);
      }),
      { numRuns: 150 },
    );
  });
});
