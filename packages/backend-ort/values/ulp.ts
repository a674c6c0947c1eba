/** Distances in units in the last place (ulp) of float32. */

/** The smallest normal float32. Below it, numbers are 2⁻¹⁴⁹ apart. */
const NORMAL = 2 ** -126;
/** An infinite result counts as this number. */
const BEYOND = 2 ** 128;

const one = new Float32Array(1);
const pattern = new Uint32Array(one.buffer);

/** The distance between two neighbouring float32 numbers near a value. */
function unitAt(value: number): number {
  one[0] = Math.min(Math.abs(value), 3.4028234663852886e38);
  const exponent = pattern[0]! >>> 23;
  return 2 ** (Math.max(exponent, 1) - 150);
}

/** The largest error of a kernel, in ulp, and where it was found. */
export interface Worst {
  /** Where the result is a normal number. */
  normal: number;
  /** Where the result is below the smallest normal number (or a larger one), in units of 2⁻¹⁴⁹. */
  tiny: number;
  /** Whether a result is 0 where -0 is right, or -0 where 0 is right. */
  otherZero: boolean;
  /** The inputs with the largest error, the result, and the right one. */
  at: string;
}

const nothing = (): Worst => ({ normal: 0, tiny: 0, otherZero: false, at: '' });

export const larger = (a: Worst, b: Worst): Worst => ({
  normal: Math.max(a.normal, b.normal),
  tiny: Math.max(a.tiny, b.tiny),
  otherZero: a.otherZero || b.otherZero,
  at: b.normal > a.normal ? b.at : a.at,
});

/**
 * The error of `got` in ulp of the right value. With `scale`, in ulp of that number: for a sum, the sum of the absolute values. Infinite if one of them
 * is NaN and the other is not, or if the sign of an infinite result is wrong.
 */
function errorOf(got: number, exact: number, scale = Math.abs(exact)): number {
  const rounded = Math.fround(exact);
  if (Object.is(got, rounded) || got === rounded) return got === exact || !Number.isFinite(got) ? 0 : Math.abs(got - exact) / unitAt(scale);
  if (Number.isNaN(got) || Number.isNaN(exact)) return Infinity;
  const finite = (x: number): number => Math.max(-BEYOND, Math.min(BEYOND, x));
  return Math.abs(finite(got) - finite(exact)) / unitAt(scale);
}

/** The largest error over all elements. `describe` names the inputs of an element, `scale` the unit, as in `errorOf`. */
export function worstOf(
  got: ArrayLike<number>,
  exact: ArrayLike<number>,
  describe: (i: number) => string,
  { scale, tiny = NORMAL }: { scale?: ArrayLike<number> | undefined; tiny?: number | undefined } = {},
): Worst {
  const worst = nothing();
  for (let i = 0; i < exact.length; i++) {
    const size = scale === undefined ? Math.abs(exact[i]!) : scale[i]!;
    if (exact[i] === 0 && got[i] === 0 && !Object.is(exact[i], got[i])) worst.otherZero = true;
    const error = errorOf(got[i]!, exact[i]!, size);
    if (size < tiny) worst.tiny = Math.max(worst.tiny, Math.abs(got[i]! - exact[i]!) / 2 ** -149);
    else if (error > worst.normal) {
      worst.normal = error;
      worst.at = `${describe(i)}: ${got[i]}, right ${exact[i]}`;
    }
  }
  return worst;
}
