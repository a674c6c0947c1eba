import { createRequire } from 'node:module';
import { hostReasons } from '../src/kernels/host.ts';
import { count, type Outcome } from './compare.ts';

const version = (name: string): string => (createRequire(import.meta.url)(`${name}/package.json`) as { version: string }).version;
const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
export const table = (head: string[], rows: string[][]): string =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n');

/** CONFORMANCE.md. `errors` is the section that the value audit wrote. */
export function report(outcomes: readonly Outcome[], errors: string): string {
  const { passed, failed, skipped } = count(outcomes);
  const share = ((100 * passed) / outcomes.length).toFixed(2);
  const wrong = outcomes.filter(({ status, passesOnCpu }) => status === 'failed' && passesOnCpu);
  const open = outcomes.filter(({ status }) => status !== 'passed');
  const groups = new Map<string, Outcome[]>();
  for (const outcome of outcomes) groups.set(outcome.group, [...(groups.get(outcome.group) ?? []), outcome]);
  const openRows = open.map(({ group, name, status, reason, message }) => [group, name, status, reason ?? message ?? '']);
  const groupRows = [...groups].map(([group, list]) => {
    const counts = count(list);
    return [group, ...[counts.passed, counts.failed, counts.skipped].map(String)];
  });
  return `# Conformance

TensorFlow.js's own test suite (\`@tensorflow/tfjs-core\` ${version('@tensorflow/tfjs')}, \`dist/tests.js\`) on this backend (ONNX Runtime
${version('onnxruntime-node')}, CPU). Written by \`pnpm --filter @atelier/backend-ort conformance\`; \`test/conformance.test.ts\` runs the same suite and
fails if a spec does not pass and is not in the list below with a reason.

**${passed} of ${outcomes.length} specs pass (${share} %), ${failed} fail, ${skipped} are skipped.** Specs that pass on TensorFlow.js's \`cpu\` engine and fail here:
${wrong.length}.

## Specs that do not pass

${table(['what', 'spec', 'outcome', 'reason'], openRows)}

## Where results differ from \`cpu\` on purpose

TensorFlow.js's suite does not test these points. The tests of this package do.

- Indices out of range: \`cpu\` throws when the kernel is called. Here this is so only if the values of the indices are already known. If they are
  computed in the graph, the error comes when the graph runs. A negative index never counts from the end, as it does in ONNX.
- Gradients of \`resizeBilinear\` and \`resizeNearestNeighbor\` use half-pixel centers and have the right shape for images that are not square. Those of \`cpu\` do not, and
  from the second image of a batch on its nearest-neighbor gradient takes the gradients of another image. With
  \`alignCorners\` and an image one pixel wide, the nearest-neighbor gradient of \`cpu\` never ends.
- The gradient of \`maxPool3d\` goes to the largest entry, also in windows that are not cubes. \`cpu\` uses the height of a window as its width.
- \`image.transform\` transforms every image of a batch. \`cpu\` transforms only the first.
- \`einsum\` sums over an axis that only one of two tensors has. \`cpu\` keeps this axis.
- Complex tensors broadcast with complex scalars. \`cpu\` gives NaN.
- \`fft\` of a length with a prime factor above 4096 is an error.
- A bool is 0 or 1. On \`cpu\` it may be any number (\`add\` of two true values gives 2 there). Every number except 0 is true.
- Integers wrap exactly at 32 bits. \`cpu\` rounds products to 53 bits first (16777217², 65537³), and it computes \`abs\`, \`depthToSpace\` and
  \`unsortedSegmentSum\` of integers with floats.
- In arithmetic of an int32 and a float32, the int32 is rounded to float32 first. \`cpu\` does not round it. Comparisons, \`mod\` and \`floorDiv\` are exact here too.
- \`pow\` follows IEEE 754: 1 to any power (also NaN) is 1, and -1 to ±∞ is 1. \`cpu\` gives NaN, as JavaScript does.
- \`elu\`, \`selu\`, \`softplus\` and \`logSigmoid\` are accurate near 0 and far below 0. \`cpu\` loses digits there, because it subtracts nearly equal numbers.
- Sums, means, running sums, scattered sums, long products (beyond 1024 terms for few results, 16,384 for many), softmax over more than 32,768 elements and
  pools over windows of more than 16 stay within 1e-6 of Σ|x|. Convolutions with channels last and more than 8 of them
  are products over patches and are summed like products (gradients of filters in blocks of about 2048 positions). Depthwise convolutions, those with channels first, filters that are
  constants of a compiled graph, and shorter products are summed in the way of ONNX Runtime.
- \`concat\` of several types has the widest type and keeps all values. \`cpu\` takes the type of the first tensor.
- \`tensorScatterUpdate\` leaves the tensor that it is given as it is. \`cpu\` writes into it.
- \`stridedSlice\` with a shrunk axis beside a stride other than 1 takes the elements that TensorFlow defines. \`cpu\` takes others.
- \`unsortedSegmentSum\` adds an infinite or NaN element to its own segment only. \`cpu\` multiplies by 0, so every segment becomes NaN.
- \`argMax\` and \`argMin\` ignore NaN everywhere. \`cpu\` takes it if it is the first element. The order that \`cpu\` gives NaN and equal infinite elements in \`topk\` is arbitrary;
  here equal elements keep their order.
- \`all\` of no elements is true, their maximum -∞, their minimum ∞ and their mean NaN, as in TensorFlow. \`cpu\` gives false, NaN, NaN and 0. \`argMax\` of no elements is an error; \`cpu\`
  gives 0. An image without pixels cannot be resized to one with pixels; \`cpu\` makes up numbers. An empty batch is empty in \`gather\` with batch axes, in \`fft\` and in products with a transposed operand;
  \`cpu\` throws, or has more elements than the shape says.
- \`unsortedSegmentSum\` of whole numbers gives whole numbers, and \`localResponseNormalization\` of them floats. On \`cpu\` it is the other way round, with fractions in a tensor of integers.
- \`logSoftmax\` and \`logSumExp\` of bools are those of 0 and 1. \`cpu\` computes them in bools.
- Resizing between infinite elements may give NaN on one engine and ±∞ on the other.
- \`tf.tensor\` of a list whose rows have different lengths throws. \`cpu\` fills the missing values with NaN.
- \`cumsum\` of a scalar gives 0 and \`cumprod\` 1, as on \`cpu\`. For other tensors, an axis that does not exist is an error.
- The gradient of \`avgPool\` divides by the whole window at padded borders, as on \`cpu\`, although the mean does not count padding.
- \`split\` of a computed tensor without elements gives tensors without elements. \`cpu\` throws.
- ONNX Runtime's selection (\`Where\`) gives 0 if it selects -0 from its first operand. So \`where\`, \`mod\`, \`prelu\` and the gradient of \`elu\` may give 0 for -0.

## Found by random programs and by the value audit

\`pnpm --filter @atelier/backend-ort fuzz [cases] [seed]\` runs programs of 5 to 30 operators on this engine and on \`cpu\`, evaluated, evaluated again, and compiled, with gradients. Each step is also compared alone, on equal inputs. What rounding errors can change is found by running \`cpu\` again with errors of another size, with results that cancel set to 0, and with -0 as 0. Long runs until now: 11,800 programs. 1800 of seed 5, 1000 of seed 7 and 1800 of seed 11 ran before programs went along known paths of calls (\`src/calls.ts\`); 1800 each of the seeds 12, 13, 14 and 15 ran after it, and 0, 2, 3 and 0 of them showed a difference. Every difference of the engines is in the lists of this file. The others were faults of the comparison, which is mended: infinite inputs, also in \`topk\`; exact cancellation; equal indices of \`scatterND\`; gradients through a cast to bool, which TensorFlow.js's own rule passes on and \`@atelier/tensor\` sets to 0; \`erf\`, \`elu\` and \`selu\` very close to 0, where \`cpu\` loses digits; and \`expm1\` below 1.2e-35, where this engine loses some. Each of these programs was run again and agrees. \`test/fuzz.test.ts\` runs 200 and keeps what they found.

\`pnpm --filter @atelier/backend-ort sweep\` calls every kernel with every type, with each axis empty, evaluated once and again, on pending operands, compiled, with constants, and with only one of its results in use; and it predicts with, derives and trains every layer of \`tf.layers\`. Its differences from \`cpu\` stand in \`sweep/differences.ts\`, each with its reason, and in the list above. TensorFlow.js's own tests of layers and converter are not in its packages.

| what | before | now |
| --- | --- | --- |
| \`stridedSlice\` with a shrunk axis and another stride | an error of ONNX Runtime | the right elements |
| \`floorDiv\`, \`mod\` and \`tan\` of tensors without elements | an error | a tensor without elements |
| a value that follows from shapes, or a kernel on the host with constant inputs, inside of a compiled function | an error | computed while tracing |
| \`mod(x, x)\` of a negative x, which is -0, then \`rsqrt\` and \`selu\`: 52.5 in place of -1.76 | 0 in place of -0 | 0 in place of -0: a difference on purpose (see above), which the comparison now knows |
| \`expm1\`, \`log1p\` and \`atan2\` of -0 | 0 | -0 |
| a convolution of an image without channels | ended the process, in ONNX Runtime | zeros |
| gradients of \`avgPool\` and of resizing for images without pixels | an error of JavaScript | no elements |
| \`argMax\` along a full axis of a tensor without elements | an error | no elements |
| \`fused.matMul\` of bools | an error of ONNX Runtime | the bool that \`cpu\` gives |
| a bool from a byte above 1, from \`fill\` or \`range\`, or from a tensor of \`cpu\` | kept its number; \`logicalNot\` of 2 could be 255 | 1 |
| \`conv3d\` and \`maxPool3d\` of whole numbers | another type than on \`cpu\` | the type of \`cpu\` |

${errors.trimEnd()}

## Kernels on the host

These kernels evaluate all pending nodes, read their inputs and run the kernel of \`cpu\`. Inside a compiled function each of them throws an error with its name
if an input depends on the arguments. So does every kernel on strings, because strings are never part of a graph.

${table(
  ['kernel', 'why'],
  Object.entries(hostReasons).map(([name, reason]) => [name, reason]),
)}

## Every group

${table(['what', 'passed', 'failed', 'skipped'], groupRows)}
`;
}
