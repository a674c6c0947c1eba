import { isTensor } from './tree.ts';
import type { Tensor } from './tf.ts';

/**
 * Checks a shape against named axes and returns their sizes: `dims(x, 'B H W C', 'meanFlowLoss: x', { C: 3 })`.
 *
 * The pattern consists of names and numbers. A number is the wanted size. A name has the size in `known`, or else the size of the axis
 * where it occurs first. An empty pattern is a scalar.
 * @throws Error with one sentence: where, what was wanted, what was given.
 */
export function dims<Name extends string = string>(
  x: Tensor,
  pattern: string,
  where: string,
  known: Readonly<Record<string, number>> = {},
): Record<Name, number> {
  const tokens = pattern.trim() === '' ? [] : pattern.trim().split(/\s+/);
  if (!isTensor(x)) throw new Error(`${where}: wanted a tensor [${tokens.join(', ')}], got ${x === null ? 'null' : typeof x}`);
  const sizes: Record<string, number> = { ...known };
  const wanted = (): string => `[${tokens.map((t) => (Object.hasOwn(sizes, t) ? `${t}=${sizes[t]}` : t)).join(', ')}]`;
  if (x.shape.length !== tokens.length) throw new Error(`${where}: wanted shape ${wanted()}, got [${x.shape.join(', ')}]`);
  tokens.forEach((token, axis) => {
    const size = x.shape[axis]!;
    const isNumber = /^\d+$/.test(token);
    const bound = isNumber ? Number(token) : Object.hasOwn(sizes, token) ? sizes[token] : undefined;
    if (bound !== undefined && bound !== size) throw new Error(`${where}: wanted shape ${wanted()}, got [${x.shape.join(', ')}]`);
    if (!isNumber) sizes[token] = size;
  });
  return sizes as Record<Name, number>;
}
