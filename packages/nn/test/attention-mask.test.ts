import fc from 'fast-check';
import { compile, jvp, Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { checkLayer, expectClose } from '@atelier/testkit';
import { beforeAll, describe, it } from 'vitest';
import { attention, type AttentionOptions } from '../src/index.ts';
import { hostAttention } from './host.ts';

beforeAll(async () => {
  await useEngine();
});

type Sizes = { B: number; K: number; T: number; S: number; d: number; e: number };

/** Row-major [1, 1, n, d] of the numbers in `values`. */
const rows = (values: number[], d = 1): Tensor => tf.tensor4d(values, [1, 1, values.length / d, d]);

/** The element of a mask at one position of [B, K, T, S]; the shape of the mask is broadcast. */
function readAt(mask: Tensor): (b: number, k: number, t: number, s: number) => number {
  const values = mask.dataSync();
  const shape = [...Array.from({ length: 4 - mask.rank }, () => 1), ...mask.shape];
  return (...place) => values[place.reduce((at, i, axis) => at * shape[axis]! + (shape[axis] === 1 ? 0 : i), 0)]!;
}

/** softmax over the keys that a query sees, zeros if it sees none; everything in float64. */
function hostMasked(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  bias: Float64Array | undefined,
  sizes: Sizes,
  options: AttentionOptions,
) {
  const { B, K, T, S, d, e } = sizes;
  const mask = options.mask;
  const read = mask && readAt(bias === undefined ? mask : tf.tensor(Array.from(bias), mask.shape));
  const added = (b: number, h: number, t: number, s: number): number => {
    if (options.causal === true && s > t + S - T) return -Infinity;
    if (read === undefined) return 0;
    const value = read(b, h, t, s);
    return mask!.dtype === 'bool' ? (value ? 0 : -Infinity) : value;
  };
  const out = hostAttention(q, k, v, sizes, options.scale ?? d ** -0.5, added);
  for (let b = 0; b < B; b++)
    for (let h = 0; h < K; h++)
      for (let t = 0; t < T; t++) {
        const seen = Array.from({ length: S }, (_, s) => added(b, h, t, s) > -Infinity).some(Boolean);
        if (!seen) out.fill(0, ((b * K + h) * T + t) * e, ((b * K + h) * T + t + 1) * e);
      }
  return out;
}

describe('what a query sees', () => {
  it('an unseen key has no effect, however large its logit is: [q = 1, k = 1 and 1e10] gives the value of key 0', () => {
    const [q, k, v] = [rows([1, 1], 1), rows([1, 1e10]), rows([1, 2])];
    const mask = tf.tensor1d([1, 0], 'bool');
    expectClose(attention(q, k, v, { mask }), rows([1, 1])); // PyTorch 2.13: 1, 1
    expectClose(compile((a: Tensor, b: Tensor, c: Tensor, m: Tensor) => attention(a, b, c, { mask: m }))(q, k, v, mask), rows([1, 1]));
    const added = tf.tensor1d([0, -Infinity]);
    expectClose(attention(q, k, v, { mask: added }), rows([1, 1]));
    expectClose(attention(q, k, v, { mask: added, causal: true }), rows([1, 1]));
    for (const sure of [mask, added]) expectClose(attention(q, k, v, { mask: sure, everyQuerySees: true }), rows([1, 1]));
    expectClose(attention(q, k, v, { mask, everyQuerySees: true, causal: true }), rows([1, 1]));
  });

  it('a seen key with the logit -2e9 is used, not an unseen key with the logit 0', () => {
    const [q, k, v] = [rows([1]), rows([-2e9, 0]), rows([1, 2])];
    expectClose(attention(q, k, v, { mask: tf.tensor1d([1, 0], 'bool') }), rows([1]));
    expectClose(attention(q, k, v, { mask: tf.tensor1d([0, -Infinity]) }), rows([1]));
    expectClose(attention(q, k, v, { mask: tf.tensor1d([1, 0], 'bool'), causal: true }), rows([1]));
  });

  it('causal with a mask that hides the own key of the query: query 1 sees only key 0', () => {
    const [q, k, v] = [rows([0, 1]), rows([-1000, 0]), rows([1, 2])];
    expectClose(attention(q, k, v, { causal: true, mask: tf.tensor1d([1, 0], 'bool') }), rows([1, 1]));
    expectClose(attention(q, k, v, { causal: true, mask: tf.tensor1d([0, -Infinity]) }), rows([1, 1]));
  });

  it('causal: a later key has no effect, however large its logit or its value is', () => {
    expectClose(attention(rows([1, 1]), rows([1, 1e10]), rows([1, 2]), { causal: true }), rows([1, 2]));
    expectClose(attention(rows([1, 1]), rows([1, 1]), rows([1, 1e30]), { causal: true }), rows([1, 5e29]));
    const q = rows([1, 1e6]);
    expectClose(attention(q, rows([-1e3, 1e6]), rows([1, 2]), { causal: true }), rows([1, 2]));
  });

  it('a query that sees no key gives zeros and has zero gradients, as in PyTorch', () => {
    const [q, k, v] = [rows([1, 2]), rows([1, 3]), rows([5, 7])];
    const hidden = [
      { mask: tf.tensor2d([1, 0, 0, 0], [2, 2], 'bool') },
      { mask: tf.tensor2d([0, -Infinity, -Infinity, -Infinity], [2, 2]) },
      { mask: tf.tensor2d([1, 0, 0, 0], [2, 2], 'bool'), causal: true },
      { mask: tf.tensor2d([0, 9, -Infinity, -Infinity], [2, 2]), causal: true },
    ];
    for (const options of hidden) {
      const { value, grads } = tf.valueAndGrads((a: Tensor, b: Tensor, c: Tensor) => attention(a, b, c, options))([q, k, v], rows([1, 1]));
      // scaled_dot_product_attention of PyTorch 2.13: out [5, 0], gradients [0, 0], [0, 0], [1, 0].
      expectClose(value, rows([5, 0]));
      expectClose(grads[0]!, rows([0, 0]));
      expectClose(grads[1]!, rows([0, 0]));
      expectClose(grads[2]!, rows([1, 0]));
      const along = jvp((a, b, c) => attention(a!, b!, c!, options), [q, k, v], [rows([1, 1]), rows([2, 3]), rows([4, 5])]);
      expectClose(along.tangent, rows([4, 0]));
    }
    const nothing = tf.zeros([2], 'bool') as Tensor;
    expectClose(attention(q, k, v, { mask: nothing }), rows([0, 0]));
    expectClose(attention(q, k, v, { mask: nothing, causal: true }), rows([0, 0]));
    const late = tf.tensor1d([0, 1], 'bool'); // Key 0 is padding, and query 0 may see no other.
    expectClose(attention(q, k, v, { mask: late, causal: true }), rows([0, 7]));
  });

  it('a NaN in a float mask gives NaN', () => {
    const out = attention(rows([1, 1]), rows([1, 1]), rows([1, 2]), { mask: tf.tensor2d([NaN, 0, 0, 0], [2, 2]) });
    expectClose(out, rows([NaN, 1.5]));
  });
});

describe('every combination of options', () => {
  /** Shapes of a mask: each axis of [B, K, T, S] is there, has size 1, or is absent. */
  const shapes = ['S', '1 S', 'T S', 'T 1', 'K T S', '1 T S', 'K 1 1', 'B 1 1 S', 'B 1 T S', '1 K T S', 'B K T S', 'B K 1 1'];

  it('value, gradient and forward mode equal the float64 reference', () => {
    const size = fc.integer({ min: 1, max: 3 });
    fc.assert(
      fc.property(
        fc.record({ B: size, K: size, T: fc.integer({ min: 1, max: 4 }), extra: fc.integer({ min: 0, max: 2 }), d: size, e: size }),
        fc.constantFrom('none', 'bool', 'float', 'float with -∞'),
        fc.constantFrom(...shapes),
        fc.boolean(),
        fc.constantFrom(undefined, 0.3, -1),
        fc.integer(),
        ({ B, K, T, extra, d, e }, kind, form, causal, scale, seed) => {
          const sizes = { B, K, T, S: T + extra, d, e };
          const rng = new Rng(seed);
          const shape = form.split(' ').map((axis) => (axis === '1' ? 1 : sizes[axis as keyof typeof sizes]));
          const hidden = rng.child('hidden').uniform(shape);
          const float = rng.child('bias').normal(shape);
          const masks: Record<string, Tensor | undefined> = {
            none: undefined,
            bool: tf.greater(hidden, 0.4),
            float,
            'float with -∞': tf.where(tf.greater(hidden, 0.4), float, -Infinity),
          };
          const mask = masks[kind];
          const options: AttentionOptions = { causal, ...(mask && { mask }), ...(scale !== undefined && { scale }) };
          const xs = [
            rng.child('q').normal([B, K, T, d]),
            rng.child('k').normal([B, K, sizes.S, d]),
            rng.child('v').normal([B, K, sizes.S, e]),
            ...(kind === 'float' ? [float] : []),
          ];
          const layer = (q: Tensor, k: Tensor, v: Tensor, bias?: Tensor): Tensor =>
            attention(q, k, v, { ...options, ...(bias && { mask: bias }) });
          checkLayer(layer as (...xs: Tensor[]) => Tensor, (q, k, v, bias) => hostMasked(q!, k!, v!, bias, sizes, options), xs, rng, {
            value: 5e-6,
            derivative: 1e-4,
          });
          // The mask is an argument of the compiled function, so that it is not a constant there.
          const compiled = compile((args: Tensor[], m: Tensor[]) =>
            attention(args[0]!, args[1]!, args[2]!, { ...options, ...(m[0] && { mask: m[0] }) }),
          );
          expectClose(compiled(xs.slice(0, 3), mask ? [mask] : []), layer(xs[0]!, xs[1]!, xs[2]!), { abs: 1e-6 }, 'compiled');
          compiled.dispose();
        },
      ),
      { numRuns: 40, seed: 7 },
    );
  });

  it('tiles equal one piece: every kind of mask, with causal order and without', () => {
    const rng = new Rng(11);
    const [B, K, T, S, d] = [1, 2, 270, 290, 2];
    const [q, k, v] = [rng.child('q').normal([B, K, T, d]), rng.child('k').normal([B, K, S, d]), rng.child('v').normal([B, K, S, d])];
    const sizes = { B, K, T, S, d, e: d };
    for (const shape of [[S], [T, S], [B, 1, T, S], [K, T, 1], [B, K, 1, S]]) {
      const hidden = tf.greater(rng.child(`hidden ${shape}`).uniform(shape), 0.5);
      for (const mask of [hidden, tf.where(hidden, rng.child(`bias ${shape}`).normal(shape), -Infinity)]) {
        for (const causal of [true, false]) {
          const expected = hostMasked(
            ...([q, k, v].map((x) => Float64Array.from(x.dataSync())) as [Float64Array, Float64Array, Float64Array]),
            undefined,
            sizes,
            { mask, causal },
          );
          expectClose(
            attention(q, k, v, { mask, causal }).dataSync(),
            expected,
            { abs: 1e-5 },
            `${mask.dtype} [${shape}] causal ${causal}`,
          );
        }
      }
    }
  });
});

describe("PyTorch's scaled_dot_product_attention", () => {
  // torch 2.13.0 (CPU, float32), attn_mask as below, scale 0.7; gradients of sum(out · w). All inputs are quarters, exact in float32.
  const quarters = (shape: number[], a: number, b: number): Tensor =>
    tf.tensor(
      Array.from({ length: shape.reduce((x, y) => x * y) }, (_, i) => (((a * i + b) % 13) - 6) / 4),
      shape,
    );
  const qkv = (): [Tensor, Tensor, Tensor] => [quarters([2, 2, 3, 2], 5, 1), quarters([2, 2, 4, 2], 7, 2), quarters([2, 2, 4, 2], 3, 5)];
  const w = (): Tensor => quarters([2, 2, 3, 2], 2, 7);
  const padding = (): Tensor => tf.tensor4d([1, 0, 1, 1, 0, 1, 1, 0], [2, 1, 1, 4], 'bool');

  it.each([
    {
      name: 'padding and causal order',
      options: (): AttentionOptions => ({ mask: padding(), causal: true, scale: 0.7 }),
      out: [
        -0.25, 0.5, -0.38591, 0.36409, -0.004698, -0.091959, -0.75, 0.0, -0.858687, -0.108687, -0.322139, 0.427861, 0.25, 1.0, -0.720323,
        0.029677, -0.605862, 0.144138, -0.25, 0.5, 0.5, -0.375, 0.613954, -0.507947,
      ],
      dq: [
        0.0, 0.0, 0.005427, 0.005427, -0.005831, -0.005831, 0.0, 0.0, -0.053756, -0.053756, -0.191246, -0.191246, 0.0, 0.0, -0.151308,
        -0.151308, 0.191315, 0.191315, 0.0, 0.0, -0.04375, -0.04375, 0.189659, 0.189659,
      ],
      dk: [
        -0.021292, 0.031314, 0.0, 0.0, 0.048403, -0.112647, -0.027111, 0.081333, 0.111128, -0.046002, 0.0, 0.0, 0.599066, -0.190729,
        -0.710194, 0.236731, 0.0, 0.0, 0.573944, 0.373909, -0.573944, -0.373909, 0.0, 0.0, 0.0, 0.0, -0.014659, -1.312953, 0.014659,
        1.312953, 0.0, 0.0,
      ],
    },
    {
      name: 'a float mask and causal order',
      options: (): AttentionOptions => ({ mask: quarters([2, 3, 4], 4, 3), causal: true, scale: 0.7 }),
      out: [
        0.778924, -0.700412, 0.763185, -0.72496, 0.125839, -0.143443, -0.589068, 0.160932, -0.512314, 0.237686, 0.323809, 1.073809,
        -0.179733, 0.570267, -0.221659, 0.528341, -0.315775, 0.434225, 1.373986, -0.891988, 0.905415, -0.799218, 0.036498, 0.093874,
      ],
      dq: [
        -0.035343, -0.035343, 0.083918, 0.083918, -0.014788, -0.014788, 0.012571, 0.012571, -0.122265, -0.122264, -0.058684, -0.058684, 0.0,
        0.0, 0.033434, 0.033434, 1.062233, -0.256016, 0.010232, 0.010232, -0.033942, -0.033942, -0.13701, -0.13701,
      ],
      dk: [
        -0.796315, 0.3458, 1.007864, -0.47446, -0.193511, 0.074546, -0.018038, 0.054113, 0.436722, -0.187844, -1.079543, 0.35754, 0.724535,
        -0.196934, -0.081714, 0.027238, -0.239226, -0.213358, 0.014616, 0.568767, -0.079602, -0.152602, 0.304211, -0.202807, 0.154396,
        0.525672, -0.022237, -0.64051, -0.084543, 0.400531, -0.047615, -0.285693,
      ],
    },
    {
      name: 'padding',
      options: (): AttentionOptions => ({ mask: padding(), scale: 0.7 }),
      out: [
        -0.024963, -0.053953, 0.130191, -0.330081, -0.004698, -0.091959, -0.346025, 0.403975, -0.483648, 0.266352, -0.322139, 0.427861,
        -0.586743, 0.163257, -0.720323, 0.029677, -0.605862, 0.144138, 0.386046, -0.242053, 0.5, -0.375, 0.613954, -0.507947,
      ],
      dq: [
        -0.092828, -0.092828, 0.357677, 0.357677, -0.005831, -0.005831, 0.047702, 0.047702, 0.214162, 0.214162, -0.191246, -0.191246, -0.0,
        0.0, -0.151308, -0.151308, 0.191315, 0.191315, -0.032055, -0.032055, -0.04375, -0.04375, 0.189659, 0.189659,
      ],
      dk: [
        -0.584084, 0.281862, 0.0, 0.0, -0.488611, 0.192459, 1.072695, -0.474321, 0.418731, -0.157945, 0.0, 0.0, 0.795631, -0.313627,
        -1.214362, 0.471572, 0.0, 0.0, 0.573944, 0.373909, -0.573944, -0.373909, 0.0, 0.0, 0.0, 0.0, -0.206989, -1.345008, 0.206989,
        1.345008, 0.0, 0.0,
      ],
    },
  ])('$name', ({ options, out, dq, dk }) => {
    const { value, grads } = tf.valueAndGrads((a: Tensor, b: Tensor, c: Tensor) => attention(a, b, c, options()))(qkv(), w());
    expectClose(value.dataSync(), out, { abs: 2e-6 });
    expectClose(grads[0]!.dataSync(), dq, { abs: 3e-6 });
    expectClose(grads[1]!.dataSync(), dk, { abs: 3e-6 });
  });
});
