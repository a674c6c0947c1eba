import { readValues, type Values } from './values.ts';

/** Bounds on |a - b|; the parts are added. Parts that are left out are zero, so `{}` asks for equal values. */
export type Tolerance = {
  /** Absolute. */
  abs?: number;
  /** Times |b| of the same element. */
  rel?: number;
  /** Times the largest finite |b| of all elements. */
  max?: number;
};

const BOUNDS = ['abs', 'rel', 'max'];

/**
 * Passes if |a - b| <= abs + rel·|b| + max·max|b| for every element of `actual` (a) and `expected` (b).
 *
 * NaN equals only NaN, and an infinity equals only the same infinity. If both sides have a shape, the shapes must agree, otherwise the counts. It is a
 * failure if there is nothing to compare.
 * @throws Error with the worst element, its index, both values and the number of elements out of bounds.
 */
export function expectClose(actual: Values, expected: Values, tolerance: Tolerance = {}, name = 'expectClose'): void {
  for (const [key, bound] of Object.entries(tolerance)) {
    if (!BOUNDS.includes(key)) throw new Error(`${name}: wanted tolerances abs, rel and max, got '${key}'`);
    if (!Number.isFinite(bound) || bound < 0) throw new Error(`${name}: wanted a finite tolerance ${key} >= 0, got ${bound}`);
  }
  const { abs = 0, rel = 0, max = 0 } = tolerance;
  const [a, b, shape] = pair(actual, expected, name);
  const floor = abs + max * largest(b);
  let worst = -1;
  let worstExcess = 0;
  let violations = 0;
  for (let i = 0; i < b.length; i++) {
    const difference = distance(a[i]!, b[i]!);
    const allowed = floor + rel * (Number.isFinite(b[i]!) ? Math.abs(b[i]!) : 0);
    if (difference <= allowed) continue;
    violations++;
    const excess = difference - allowed;
    if (excess > worstExcess) [worst, worstExcess] = [i, excess];
  }
  if (violations === 0) return;
  const allowed = floor + rel * (Number.isFinite(b[worst]!) ? Math.abs(b[worst]!) : 0);
  throw new Error(
    `${name}: ${violations} of ${b.length} values are out of bounds, worst at ${position(worst, shape)}: got ${a[worst]}, wanted ${b[worst]}` +
      ` (difference ${short(distance(a[worst]!, b[worst]!))}, allowed ${short(allowed)})`,
  );
}

/** max|a - b| / max|b|. It is 0 if nothing differs, and Infinity if a NaN or infinity has no equal or if all of b is zero. @throws Error if shapes differ. */
export function relativeError(actual: Values, expected: Values): number {
  const [a, b] = pair(actual, expected, 'relativeError');
  let difference = 0;
  for (let i = 0; i < b.length; i++) difference = Math.max(difference, distance(a[i]!, b[i]!));
  return difference === 0 ? 0 : difference / largest(b);
}

function pair(actual: Values, expected: Values, name: string): [ArrayLike<number>, ArrayLike<number>, readonly number[] | undefined] {
  const [a, b] = [readValues(actual, `${name}: actual`), readValues(expected, `${name}: expected`)];
  if (a.shape && b.shape && a.shape.join() !== b.shape.join()) {
    throw new Error(`${name}: wanted shape [${b.shape.join(', ')}], got [${a.shape.join(', ')}]`);
  }
  if (a.data.length !== b.data.length) throw new Error(`${name}: wanted ${b.data.length} values, got ${a.data.length}`);
  if (b.data.length === 0) throw new Error(`${name}: wanted at least one value to compare, got none`);
  return [a.data, b.data, b.shape ?? a.shape];
}

/** |a - b|, 0 for equal non-finite values and Infinity for others. */
function distance(a: number, b: number): number {
  if (Object.is(a, b) || a === b) return 0;
  const difference = Math.abs(a - b);
  return Number.isNaN(difference) ? Infinity : difference;
}

/** The largest finite |b|. */
function largest(b: ArrayLike<number>): number {
  let out = 0;
  for (let i = 0; i < b.length; i++) if (Number.isFinite(b[i]!)) out = Math.max(out, Math.abs(b[i]!));
  return out;
}

function position(flat: number, shape: readonly number[] | undefined): string {
  if (!shape || shape.length < 2) return `index ${flat}`;
  const index: number[] = [];
  let rest = flat;
  for (const size of [...shape].reverse()) {
    index.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return `[${index.join(', ')}] (index ${flat})`;
}

const short = (x: number): string => String(Number(x.toPrecision(3)));
