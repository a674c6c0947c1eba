import { compile, tf, treeMap, type Compiled, type Tensor, type Tree } from '@atelier/tensor';
import type { CausalMap } from './causal-map.ts';
import type { Fixed } from './iteration.ts';
import { gatherTokens } from './token-axis.ts';

/** A window of s tokens that starts at the last token known, and the cache of all tokens before it, padded in front. */
export type WindowOptions = {
  /** s, tokens of a window. */
  size: number;
  /** Tokens that the cache given and the one returned have room for. */
  room: number;
  nextRoom: number;
};

export type WindowResult<C extends Tree> = {
  /** The batch with the window's tokens after the first replaced. */
  x: Tensor;
  past: C;
  /** How many more tokens are final: int32 scalar, 0 only where a guess overflowed. */
  accepted: Tensor;
  /** How many of them were confirmed and keep the value that was fed: int32 scalar. */
  confirmed: Tensor;
  /** Largest |next - old| over the values of each of the tokens after those of the window [B, s]. */
  errors: Tensor;
};

export type WindowStep<P extends Tree, I extends Tree, C extends Tree> = Compiled<
  [state: { x: Tensor; past: C } | { x: Tensor }, fixed: Fixed<P, I, C>, where: { known: Tensor; last: Tensor; tolerance: Tensor }],
  WindowResult<C>
>;

/**
 * One step of the exact mode. Tokens 0 … `known` are final and those before `known` are in the cache; the window evaluates the tokens
 * known … known + s - 1 as they stand, the first of them final, the others guesses.
 *
 * Token known + 1 that comes out was made from final tokens alone. As long as a token that comes out is, within the tolerance and in all
 * samples, the one that was fed, the fed one is final too (its residual is their difference), and so is what was made from it: the first
 * one that differs takes the value that came out (residual 0). All keys and values up to there were made from final tokens and go into the
 * cache; nothing final is ever evaluated again. So a step makes at least one token final, whatever was guessed.
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
      // What overflowed came of a guess (one spoils the whole window) and is not taken; then only what agreed is final.
      const taken = tf.sum(tf.cast(tf.logicalAnd(isFirstNew, tf.all(finite, [0, 2])), 'int32'));
      // Past the last token to be solved the window repeats the last one of all; nothing there is taken.
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
