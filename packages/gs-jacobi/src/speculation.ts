import { compile, tf, treeMap, type Compiled, type Tensor, type Tree } from '@atelier/tensor';
import type { CausalMap } from './causal-map.ts';
import type { Fixed } from './iteration.ts';
import { gatherTokens } from './token-axis.ts';

/** A window of s tokens that starts at the last token known, and the cache of all tokens before it, padded in front. */
export type WindowOptions = {
  /** s, tokens of a window. */
  size: number;
  /** Number of tokens that fit into the given cache and into the returned one. */
  room: number;
  nextRoom: number;
};

export type WindowResult<C extends Tree> = {
  /** The batch in which the tokens of the window after the first one are replaced. */
  x: Tensor;
  past: C;
  /** Number of tokens that became final: int32 scalar, 0 only if a guess overflowed. */
  accepted: Tensor;
  /** How many of them were confirmed and keep their guessed value: int32 scalar. */
  confirmed: Tensor;
  /** Largest |next - old| over the values of each of the tokens after those of the window [B, s]. */
  errors: Tensor;
};

export type WindowStep<P extends Tree, I extends Tree, C extends Tree> = Compiled<
  [state: { x: Tensor; past: C } | { x: Tensor }, fixed: Fixed<P, I, C>, where: { known: Tensor; last: Tensor; tolerance: Tensor }],
  WindowResult<C>
>;

/**
 * One step of the exact mode. Tokens 0 … `known` are final, and those before `known` are in the cache. The window evaluates the tokens
 * known … known + s - 1 with their present values: the first of them is final, the others are guesses.
 *
 * The output for token known + 1 depends only on final tokens, so it is right. If it equals the guess of that token (within the tolerance, in all samples),
 * the guess becomes final; its residual is the difference. Then the output for the next token is right too, and so on. The first token whose guess differs
 * takes the value of the output (residual 0). All keys and values up to there were computed from final tokens and go into the cache; final tokens are never
 * evaluated again. So every step makes at least one token final, for any guess.
 */
export function compileWindow<P extends Tree, I extends Tree, C extends Tree>(
  map: CausalMap<P, I, C>,
  { size, room, nextRoom }: WindowOptions,
): WindowStep<P, I, C> {
  const axis = map.pastAxis;
  return compile(
    (state, { params, inputs }, { known, last, tolerance }) => {
      const { x } = state;
      const T = x.shape[1]!;
      const range = (count: number): Tensor => tf.range(0, count, 1, 'int32');
      const end = tf.scalar(T - 1, 'int32');
      const places = tf.add(range(size), known);
      const at = tf.minimum(places, end);
      const segment = { params, x: gatherTokens(x, at), inputs: gatherTokens(inputs, at) };
      const past = 'past' in state ? state.past : undefined;
      const { next, own } = map.next(past === undefined ? segment : { ...segment, past, seen: known });

      const old = gatherTokens(x, tf.minimum(tf.add(places, tf.scalar(1, 'int32')), end));
      const difference = tf.max(tf.abs(tf.sub(next, old)), 2); // [B, s, D] -> [B, s]
      const agrees = tf.all(tf.lessEqual(difference, tolerance), 0); // -> [s]
      const firstNew = tf.min(tf.where(agrees, tf.fill([size], size, 'int32'), range(size)));
      const isFirstNew = tf.equal(range(size), firstNew);
      const finite = tf.isFinite(next);
      // An overflow comes from a guess, and one such guess makes the whole window unusable. Then only the tokens that agreed become final.
      const taken = tf.sum(tf.cast(tf.logicalAnd(isFirstNew, tf.all(finite, [0, 2])), 'int32'));
      // After the last token to be solved, the window repeats the last token. Results there are not used.
      const accepted = tf.minimum(tf.add(firstNew, taken), tf.sub(last, known));

      const isNew = tf.reshape(tf.greaterEqual(range(size), firstNew), [1, size, 1]);
      const updated = tf.where(tf.logicalAnd(isNew, finite), next, old);
      const all = range(T);
      const isInside = tf.logicalAnd(tf.greater(all, known), tf.lessEqual(all, tf.minimum(tf.add(known, tf.scalar(size, 'int32')), last)));
      const source = tf.where(isInside, tf.add(tf.sub(all, known), tf.scalar(T - 1, 'int32')), all);
      const moved = gatherTokens(tf.concat([x, updated], 1), source);

      // The cache ends with the last accepted token, with room in front of it.
      const shift = tf.sub(tf.add(accepted, tf.scalar(room, 'int32')), tf.scalar(nextRoom, 'int32'));
      const kept = tf.maximum(tf.add(range(nextRoom), shift), tf.scalar(0, 'int32'));
      const nextPast = treeMap(
        (leaf, _, before) => gatherTokens(before === undefined ? leaf : tf.concat([before, leaf], axis), kept, axis),
        own,
        ...(past === undefined ? [] : [past]),
      );
      return { x: moved, past: nextPast, accepted, confirmed: firstNew, errors: difference };
    },
    { donate: [0], name: `window of ${size}`, idle: 'sleep' },
  );
}
