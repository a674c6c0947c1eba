import { checkNumber, type Rng } from '@atelier/tensor';
import { imageSet, type ImageSet } from './image-set.ts';

export const DISC_AND_BOX_CLASSES = ['disc', 'box'] as const;

/** Draws an image takes: three background colours, three strengths and one angle of its slope, a class, a centre, a size, three colours. */
const DRAWS = 14;

/**
 * `count` colour images [side, side, 3] of one disc (class 0) or one upright box (class 1) on a sloping background, float32 in [-1, 1].
 *
 * With X, Y the centres of pixels in (0, 1): background U(-0.6, 0.6)³ + U(0, 0.5)³·((X - ½)·cos θ + (Y - ½)·sin θ), θ ~ U(0, 2π); centre
 * ~ U(0.2, 0.8)², half size ~ U(0.15, 0.35), colour ~ U(-0.9, 0.9)³, blended by σ(-2·side·distance to the edge), the distance of a box in
 * the maximum norm. Draws the same numbers for an image however many are asked for, so the first images do not depend on it.
 */
export function discsAndBoxes(rng: Rng, count: number, side: number): ImageSet {
  for (const [name, value] of Object.entries({ count, side })) checkNumber(`discsAndBoxes: ${name}`, value, { integer: true, min: 1 });
  const draws = rng.uniforms(DRAWS * count);
  const pixels = new Float32Array(count * side * side * 3);
  const labels = new Int32Array(count);
  for (let n = 0; n < count; n++) {
    const u = draws.subarray(n * DRAWS, (n + 1) * DRAWS);
    const between = (at: number, low: number, high: number): number => low + (high - low) * u[at]!;
    const angle = between(6, 0, 2 * Math.PI);
    const [cx, cy, half] = [between(8, 0.2, 0.8), between(9, 0.2, 0.8), between(10, 0.15, 0.35)];
    const label = u[7]! < 0.5 ? 0 : 1;
    labels[n] = label;
    for (let row = 0; row < side; row++)
      for (let column = 0; column < side; column++) {
        const [x, y] = [(column + 0.5) / side, (row + 0.5) / side];
        const slope = (x - 0.5) * Math.cos(angle) + (y - 0.5) * Math.sin(angle);
        const [dx, dy] = [Math.abs(x - cx), Math.abs(y - cy)];
        const distance = (label === 0 ? Math.hypot(dx, dy) : Math.max(dx, dy)) - half;
        const inside = 1 / (1 + Math.exp(2 * side * distance));
        for (let c = 0; c < 3; c++) {
          const background = between(c, -0.6, 0.6) + between(3 + c, 0, 0.5) * slope;
          const value = background + inside * (between(11 + c, -0.9, 0.9) - background);
          pixels[((n * side + row) * side + column) * 3 + c] = Math.min(1, Math.max(-1, value));
        }
      }
  }
  const classes = DISC_AND_BOX_CLASSES.length;
  const name = `discs and boxes ${side} x ${side}`;
  return imageSet({ name, pixels, labels, count, height: side, width: side, channels: 3, classes, classNames: DISC_AND_BOX_CLASSES });
}
