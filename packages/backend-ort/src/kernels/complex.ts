import type { Graph, Node } from '../graph.ts';
import { KernelCall, type Kernel, type KernelTable } from '../kernel.ts';
import { fourier } from './fourier.ts';

/** Kernels for complex64 tensors. Such a tensor is two nodes, the real part and the imaginary part. */

type Pair = readonly [Node, Node];
const result = (real: Node, imag: Node) => ({ real, imag });

/**
 * Kernels that do the same with both parts, by the kernel for numbers. These are the kernels that only move elements, and the linear ones.
 */
const partwise = [
  ...['Add', 'AddN', 'Sub', 'Neg', 'Sum'],
  ...['Concat', 'GatherNd', 'GatherV2', 'Pack', 'Reverse', 'Slice', 'SplitV', 'StridedSlice', 'Tile', 'Transpose', 'Unpack'],
];

/** Calls a kernel twice, once for the real parts and once for the imaginary parts. */
const both = (k: KernelCall, kernel: Kernel): ReturnType<Kernel> => {
  const [real, imag] = [kernel(k.part(0)), kernel(k.part(1))];
  if (Array.isArray(real)) return real.map((node, i) => result(node as Node, (imag as Node[])[i]!));
  return result(real as Node, imag as Node);
};

function multiply(g: Graph, [a, b]: Pair, [c, d]: Pair): { real: Node; imag: Node } {
  const times = (x: Node, y: Node): Node => g.binary('Mul', x, y);
  return result(g.binary('Sub', times(a, c), times(b, d)), g.binary('Add', times(a, d), times(b, c)));
}

/** |z|, computed in float64, where the square of a float32 cannot overflow or become 0. */
function absolute(g: Graph, [real, imag]: Pair): Node {
  const square = (x: Node): Node => {
    const wide = g.cast(x, 'float64');
    return g.binary('Mul', wide, wide);
  };
  return g.cast(g.unary('Sqrt', g.binary('Add', square(real), square(imag))), 'float32');
}

/** Makes a complex64 tensor from two real tensors. */
export const fromParts: KernelTable = {
  Complex: (k) => result(k.graph.cast(k.node('real'), 'float32'), k.graph.cast(k.node('imag'), 'float32')),
};

/** Kernels for calls that have a complex input or a complex result. `numeric` contains the kernels for numbers. */
export const complexKernels = (numeric: KernelTable): KernelTable => ({
  ...Object.fromEntries(partwise.map((name): [string, Kernel] => [name, (k) => both(k, numeric[name]!)])),
  ...Object.fromEntries(['Identity', 'Reshape', 'ExpandDims'].map((name) => [name, numeric[name]!])),
  Real: (k) => k.parts('input')[0],
  Imag: (k) => k.parts('input')[1],
  ComplexAbs: (k) => absolute(k.graph, k.parts('x')),
  Multiply: (k) => multiply(k.graph, k.parts('a'), k.parts('b')),
  ZerosLike: (k) => result(k.graph.fill(0, k.infos.x!.shape), k.graph.fill(0, k.infos.x!.shape)),
  OnesLike: (k) => result(k.graph.fill(1, k.infos.x!.shape), k.graph.fill(0, k.infos.x!.shape)),
  FFT: (k) => fourier(k, k.parts('input'), false),
  IFFT: (k) => fourier(k, k.parts('input'), true),
  Cast: (k) => {
    const [real, imag] = k.parts('x');
    const to = k.attribute<string>('dtype');
    if (to === 'complex64') return result(real, imag);
    return to === 'float32' ? real : numeric.Cast!(k.part(0));
  },
});
