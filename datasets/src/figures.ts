import { checkNumber, type Rng } from '@atelier/tensor';
import { imageSet, type ImageSet } from './image-set.ts';

export const FIGURE_CLASSES = ['disc', 'square', 'cross', 'striped disc'] as const;

/** Draws an image takes: class, centre, half size, angle, contrast, level and slope of the background and its direction. */
const DRAWS = 9;

/**
 * `count` grey images [side, side, 1] of four classes of figures on a sloping background, float32 in [-1, 1].
 *
 * With coordinates in (-1, 1): centre ~ U(-0.35, 0.35)², half size r ~ U(0.3, 0.5), angle ~ U(0, π/2), brightness over the background ~ U(0.5, 1), level
 * ~ U(-0.9, 0), slope ~ U(0, 0.25) in a direction ~ U(0, 2π). Turned by the angle, a disc is |p| < r, a square max|p_i| < 0.85r, a cross the points of the
 * square of half size r that are within 0.35r of an axis, and a striped disc a disc times ½(1 + cos(2πp₁/r)); edges are σ(-0.4·side·distance). Draws the same
 * numbers for an image however many are asked for.
 */
export function figures(rng: Rng, count: number, side: number): ImageSet {
  for (const [name, value] of Object.entries({ count, side })) checkNumber(`figures: ${name}`, value, { integer: true, min: 1 });
  const draws = rng.uniforms(DRAWS * count);
  const pixels = new Float32Array(count * side * side);
  const labels = new Int32Array(count);
  for (let n = 0; n < count; n++) {
    const u = draws.subarray(n * DRAWS, (n + 1) * DRAWS);
    labels[n] = Math.floor(u[0]! * FIGURE_CLASSES.length);
    pixels.set(drawFigure(labels[n]!, u, side), n * side * side);
  }
  const classes = FIGURE_CLASSES.length;
  return imageSet({
    name: `figures ${side} x ${side}`,
    pixels,
    labels,
    count,
    height: side,
    width: side,
    channels: 1,
    classes,
    classNames: FIGURE_CLASSES,
  });
}

function drawFigure(label: number, u: Float32Array, side: number): Float32Array {
  const between = (at: number, low: number, high: number): number => low + (high - low) * u[at]!;
  const [cx, cy, r] = [between(1, -0.35, 0.35), between(2, -0.35, 0.35), between(3, 0.3, 0.5)];
  const [angle, brightness] = [between(4, 0, Math.PI / 2), between(5, 0.5, 1)];
  const [level, slope, direction] = [between(6, -0.9, 0), between(7, 0, 0.25), between(8, 0, 2 * Math.PI)];
  return Float32Array.from({ length: side * side }, (_, i) => {
    const [x, y] = [(2 * (i % side) + 1) / side - 1, (2 * Math.floor(i / side) + 1) / side - 1];
    const [dx, dy] = [x - cx, y - cy];
    const p: [number, number] = [dx * Math.cos(angle) + dy * Math.sin(angle), dy * Math.cos(angle) - dx * Math.sin(angle)];
    const background = level + slope * (x * Math.cos(direction) + y * Math.sin(direction));
    return Math.min(1, Math.max(-1, background + brightness * cover(label, p, r, side)));
  });
}

/** How much of a pixel a figure covers. */
function cover(label: number, [p, q]: [number, number], r: number, side: number): number {
  const inside = (distance: number): number => 1 / (1 + Math.exp(0.4 * side * distance));
  const square = (half: number): number => inside(Math.max(Math.abs(p), Math.abs(q)) - half);
  if (label === 1) return square(0.85 * r);
  if (label === 2) return square(r) * inside(Math.min(Math.abs(p), Math.abs(q)) - 0.35 * r);
  const disc = inside(Math.hypot(p, q) - r);
  return label === 0 ? disc : disc * (0.5 + 0.5 * Math.cos((2 * Math.PI * p) / r));
}
