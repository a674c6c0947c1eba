import { createRequire } from 'node:module';
import { hostReasons } from '../src/kernels/host.ts';
import { count, type Outcome } from './compare.ts';

const version = (name: string): string => (createRequire(import.meta.url)(`${name}/package.json`) as { version: string }).version;
const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
const table = (head: string[], rows: string[][]): string =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n');

/** CONFORMANCE.md. */
export function report(outcomes: readonly Outcome[]): string {
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
fails on any spec that does not pass and is not listed below with its reason.

**${passed} of ${outcomes.length} specs pass (${share} %), ${failed} fail, ${skipped} are skipped.** Specs that pass on TensorFlow.js's \`cpu\` engine and fail here:
${wrong.length}.

## Specs that do not pass

${table(['what', 'spec', 'outcome', 'reason'], openRows)}

## Where results differ from \`cpu\` on purpose

The suite does not ask for these; the package's own tests do.

- Computed indices: an index out of range stops the evaluation of the graph (\`cpu\` throws when the kernel is called, which here is so only for
  indices whose values are at hand). A negative index never counts from the end, as it would in ONNX.
- Gradients of \`resizeBilinear\` and \`resizeNearestNeighbor\` keep to half-pixel centers, and have the shape of an oblong image; \`cpu\`'s don't, and the
  nearest one's never ends on an image one pixel wide under \`alignCorners\`.
- The gradient of \`maxPool3d\` goes to the winner also in windows that are not cubes; \`cpu\` takes the height of a window for its width.
- \`image.transform\` maps every image of a batch; \`cpu\` stops after the first.
- \`einsum\` sums away an axis that one of two tensors has alone; \`cpu\` keeps it.
- Complex tensors broadcast against complex scalars; \`cpu\` gives NaN.
- \`fft\` of a length with a prime factor above 4096 is refused.
- A bool holds 0 or 1; on \`cpu\` it may hold any number (\`add\` of two true ones gives 2 there). What is not 0 is true.
- Whole numbers go around at 32 bits exactly; \`cpu\` rounds products to 53 bits first (16777217², 65537³), and \`abs\`, \`depthToSpace\` and
  \`unsortedSegmentSum\` of whole numbers go through floats there.
- An int32 beside a float32 is rounded to float32 in arithmetic; \`cpu\` computes with the number itself. Comparisons, \`mod\` and \`floorDiv\` are exact here too.
- \`pow\` is IEEE 754's: 1 to any power, NaN too, is 1, and so is -1 to ±∞; \`cpu\` gives JavaScript's NaN.
- \`elu\`, \`selu\`, \`softplus\` and \`logSigmoid\` keep their digits near 0 and far below it, where \`cpu\` subtracts what is nearly equal.
- Sums, means, running sums, scattered sums, long products (beyond 1024 terms for few results, 16,384 for many), softmax over more than 32,768 elements and
  pools over windows of more than 16 stay within 1e-6 of Σ|x|. Convolutions and their gradients, and products that are shorter, add up as ONNX Runtime does.
- \`tf.tensor\` of a ragged list throws; \`cpu\` fills up with NaN.
- \`cumsum\` of a scalar gives 0 and \`cumprod\` 1, as on \`cpu\`; an axis that a tensor lacks is refused otherwise.
- The gradient of \`avgPool\` divides by the whole window at padded borders, as \`cpu\`'s does, although the mean does not count padding.

## Kernels on the host

These evaluate what is pending, read their inputs and run \`cpu\`'s kernel. Inside a compiled function each throws a sentence with its name.
So does every kernel on strings, which never enter a graph.

${table(
  ['kernel', 'why'],
  Object.entries(hostReasons).map(([name, reason]) => [name, reason]),
)}

## Every group

${table(['what', 'passed', 'failed', 'skipped'], groupRows)}
`;
}
