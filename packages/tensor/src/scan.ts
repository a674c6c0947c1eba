import { graphBackend } from './engine.ts';
import { tf, type Tensor } from './tf.ts';
import { treeLeaves, treeMap, type Tree } from './tree.ts';

/** One repetition as a function of the leaves of the trees. */
type Step = (carry: Tensor[], slices: Tensor[]) => { carry: Tensor[]; collected: Tensor[] };

/**
 * Repeats `step` along the first axis of every tensor in `sequences`. `step` gets the carry and one slice, and returns the next carry and
 * the output of this repetition. Shapes and types of the carry must not change.
 *
 * On an engine with a graph, all repetitions are one operator: `step` is traced once, and no JavaScript runs between repetitions. On other
 * engines, and while gradients are recorded (but not inside a `customGradient`), JavaScript runs them one after the other. Call inside `tf.tidy` or a compiled function.
 * @param sequences tensors [n, …], at least one, all with the same n >= 1
 * @returns the carry after the last repetition, and the outputs of all repetitions, stacked to [n, …]
 * @throws Error if the sequences differ in length, or if the carry changes its structure, shape or type
 */
export function scan<C extends Tree, X extends Tree, Y extends Tree>(
  step: (carry: C, slice: X) => { carry: C; collect: Y },
  carry: C,
  sequences: X,
): { carry: C; collected: Y } {
  const [start, columns] = [treeLeaves(carry), treeLeaves(sequences)];
  const length = columns[0]?.shape[0] ?? 0;
  if (length < 1 || columns.some(({ shape }) => shape[0] !== length)) {
    const found = columns.map(({ shape }) => shape[0] ?? 'a scalar').join(', ');
    throw new Error(`scan: sequences: wanted tensors of one length of at least 1 on their first axis, got [${found}]`);
  }
  let last: { carry: C; collect: Y } | undefined;
  const onLeaves: Step = (before, slices) => {
    last = step(refill(carry, before), refill(sequences, slices));
    const next = treeMap(checkSame, last.carry, carry);
    return { carry: treeLeaves(next), collected: treeLeaves(last.collect) };
  };
  const backend = graphBackend();
  // While TensorFlow.js records gradients the steps are unrolled, because the one operator has no derivative. Inside of a `customGradient` it records nothing.
  const out =
    backend !== null && !tf.engine().isTapeOn() ? backend.traceScan(start, columns, onLeaves) : inTurn(start, columns, length, onLeaves);
  return { carry: refill(last!.carry, out.carry), collected: refill(last!.collect, out.collected) };
}

function inTurn(carry: Tensor[], sequences: readonly Tensor[], length: number, step: Step): ReturnType<Step> {
  const rows = sequences.map((x) => tf.unstack(x));
  const collected: Tensor[][] = [];
  for (let i = 0; i < length; i++) {
    const out = step(
      carry,
      rows.map((row) => row[i]!),
    );
    carry = out.carry;
    out.collected.forEach((x, k) => (collected[k] ??= []).push(x));
  }
  return { carry, collected: collected.map((xs) => tf.stack(xs)) };
}

/** A tree of the same structure with other leaves. */
function refill<T extends Tree>(tree: T, leaves: readonly Tensor[]): T {
  let next = 0;
  return treeMap(() => leaves[next++]!, tree);
}

function checkSame(after: Tensor, path: string, before?: Tensor): Tensor {
  if (after.dtype !== before!.dtype || after.shape.join() !== before!.shape.join())
    throw new Error(
      `scan: carry '${path}': wanted ${before!.dtype} [${before!.shape.join(', ')}] as before, got ${after.dtype} [${after.shape.join(', ')}]`,
    );
  return after;
}
