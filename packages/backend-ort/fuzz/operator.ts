import type { Pool, Tensor } from './pool.ts';

/**
 * How close the values of an operator must be to those of `cpu` for the same inputs. `moved`: equal. `near`: some units in the last place.
 * `cancelled`: the same, or 1e-6, because `cpu` subtracts nearly equal numbers or approximates.
 * `sum`: 1e-5 of the sum of the absolute values that are added. `mixed`: 1e-5 of the largest input, squared: for functions that are made of
 * several operators.
 */
export type Closeness = 'moved' | 'near' | 'cancelled' | 'sum' | 'mixed';

export interface Operator {
  name: string;
  closeness: Closeness;
  apply: (pool: Pool) => Tensor | Tensor[];
  /** False if TensorFlow.js has no gradient for it, or a wrong one. `packages/tensor` has its own, and checks them. */
  gradient: boolean;
}

export const operators =
  (closeness: Closeness, gradient = true) =>
  (table: Record<string, Operator['apply']>): Operator[] =>
    Object.entries(table).map(([name, apply]) => ({ name, closeness, apply, gradient }));
