/** An affine map of the plane: the rows [a, b, c] and [d, e, f] map (x, y) to (a·x + b·y + c, d·x + e·y + f). */
export type Affine = readonly [number, number, number, number, number, number];

export const translation = (x: number, y: number): Affine => [1, 0, x, 0, 1, y];
export const scaling = (x: number, y: number): Affine => [x, 0, 0, 0, y, 0];
export const rotation = (angle: number): Affine => [Math.cos(angle), -Math.sin(angle), 0, Math.sin(angle), Math.cos(angle), 0];

/** The product of the maps: the last one acts first. */
export function multiply(...maps: Affine[]): Affine {
  return maps.reduce(([a, b, c, d, e, f], [p, q, r, s, t, u]) => [
    a * p + b * s,
    a * q + b * t,
    a * r + b * u + c,
    d * p + e * s,
    d * q + e * t,
    d * r + e * u + f,
  ]);
}

export function affine([a, b, c, d, e, f]: Affine, x: number, y: number): readonly [x: number, y: number] {
  return [a * x + b * y + c, d * x + e * y + f];
}
