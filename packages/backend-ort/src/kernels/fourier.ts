import type { Graph, Node } from '../graph.ts';
import type { KernelCall } from '../kernel.ts';

/**
 * Discrete Fourier transforms as matrix products. (ONNX's own DFT loses up to three digits if the length is not a power of two.) A length n
 * = a b is divided into its factors (Cooley and Tukey) until these are small: X[k₁ + a k₂] = Σ_j₂ e^(-2πi j₂ k₂ / b) (e^(-2πi j₂ k₁ / n)
 * Σ_j₁ e^(-2πi j₁ k₁ / a) x[b j₁ + j₂]).
 */

/** A length of at most this is one matrix product. */
const DIRECT = 64;
/** A larger prime factor is an error, because a prime factor p needs a p × p matrix. */
const LARGEST_PRIME = 4096;

interface Pair {
  real: Node;
  imag: Node;
}

/** The largest divisor of n that is at most `DIRECT`. If there is none, the smallest divisor above it. */
function divisor(n: number): number {
  for (let a = Math.min(DIRECT, n - 1); a > 1; a--) if (n % a === 0) return a;
  for (let a = DIRECT + 1; a * a <= n; a++) if (n % a === 0) return a;
  return n;
}

/** cos and sin of ±2π j k / n for j < rows, k < columns. */
function angles(n: number, rows: number, columns: number, sign: number): [Float32Array, Float32Array] {
  const [cos, sin] = [new Float32Array(rows * columns), new Float32Array(rows * columns)];
  for (let j = 0; j < rows; j++) {
    for (let k = 0; k < columns; k++) {
      const angle = (sign * 2 * Math.PI * ((j * k) % n)) / n;
      cos[j * columns + k] = Math.cos(angle);
      sin[j * columns + k] = Math.sin(angle);
    }
  }
  return [cos, sin];
}

const times = (g: Graph, x: Pair, cos: Node, sin: Node, op: (a: Node, b: Node) => Node): Pair => ({
  real: g.binary('Sub', op(x.real, cos), op(x.imag, sin)),
  imag: g.binary('Add', op(x.real, sin), op(x.imag, cos)),
});

/** x [N, n] -> [N, n] */
function transform(g: Graph, x: Pair, sign: number): Pair {
  const [batch, n] = x.real.shape as [number, number];
  if (n === 1) return x;
  const a = n <= DIRECT ? n : divisor(n);
  if (a === n) {
    const [cos, sin] = angles(n, n, n, sign).map((values) => g.constant(values, [n, n], 'float32')) as [Node, Node];
    return times(g, x, cos, sin, (u, v) => g.add('MatMul', [u, v], {}, [batch, n], 'float32'));
  }
  const b = n / a;
  const both = (f: (v: Node) => Node, v: Pair): Pair => ({ real: f(v.real), imag: f(v.imag) });
  // [N, a, b] -> [N, b, a]: transform along j₁.
  const columns = both((v) => g.reshape(g.transpose(g.reshape(v, [batch, a, b]), [0, 2, 1]), [batch * b, a]), x);
  const inner = both((v) => g.reshape(v, [batch, b, a]), transform(g, columns, sign));
  const [cos, sin] = angles(n, b, a, sign).map((values) => g.constant(values, [b, a], 'float32')) as [Node, Node];
  const twisted = times(g, inner, cos, sin, (u, v) => g.binary('Mul', u, v));
  // [N, b, a] -> [N, a, b]: transform along j₂, for each k₁.
  const rows = both((v) => g.reshape(g.transpose(v, [0, 2, 1]), [batch * a, b]), twisted);
  const outer = transform(g, rows, sign);
  // The value at [k₁, k₂] of [N, a, b] is X[k₁ + a k₂].
  return both((v) => g.reshape(g.transpose(g.reshape(v, [batch, a, b]), [0, 2, 1]), [batch, n]), outer);
}

function largestPrime(n: number): number {
  let largest = 1;
  for (let p = 2; p * p <= n; p++) {
    while (n % p === 0) {
      largest = p;
      n /= p;
    }
  }
  return Math.max(largest, n);
}

/** The transform over the last axis. With `inverse`, the result is divided by its length. */
export function fourier(k: KernelCall, [real, imag]: readonly [Node, Node], inverse: boolean): Pair {
  const g = k.graph;
  const shape = real.shape;
  const n = shape[shape.length - 1]!;
  if (shape.includes(0)) return { real, imag };
  const prime = largestPrime(n);
  if (prime > LARGEST_PRIME) throw k.refuse(`a length whose prime factors are at most ${LARGEST_PRIME}`, `${n} with the factor ${prime}`);
  const flat = (v: Node): Node => g.reshape(v, [shape.reduce((a, b) => a * b, 1) / n, n]);
  const out = transform(g, { real: flat(real), imag: flat(imag) }, inverse ? 1 : -1);
  const back = (v: Node): Node => g.reshape(inverse ? g.binary('Div', v, g.scalar(n)) : v, shape);
  return { real: back(out.real), imag: back(out.imag) };
}
