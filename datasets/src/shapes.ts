import { checkNumber, type Rng } from '@atelier/tensor';
import { imageSet, type ImageSet } from './image-set.ts';

const SIDE = 8;
export const SHAPE_CLASSES = ['disc', 'ring', 'horizontal bar', 'vertical bar'] as const;

/** What sets one shape image apart: class index, centre (x right, y down) and size in pixels, contrast in [0, 1]. */
export type Shape = { label: number; cx: number; cy: number; size: number; contrast: number };

/**
 * One 8 × 8 × 1 image of a shape, float32 in [-0.8, 0.8]: 0.8·(2·contrast·pattern - 1).
 *
 * With d the distance to the centre and σ the logistic function, the pattern is
 * disc σ(3(size - d)); ring exp(-((d - size)/0.6)²); horizontal bar σ(3(0.9 - |y - cy|))·σ(3(size + 0.8 - |x - cx|)); vertical bar the same
 * with x and y swapped.
 */
export function drawShape(shape: Shape): Float32Array {
  const pattern = PATTERNS[shape.label];
  if (pattern === undefined) throw new Error(`drawShape: wanted a label in [0, ${PATTERNS.length}), got ${shape.label}`);
  return Float32Array.from({ length: SIDE * SIDE }, (_, i) => {
    const dx = (i % SIDE) - shape.cx;
    const dy = Math.floor(i / SIDE) - shape.cy;
    return 0.8 * (2 * shape.contrast * pattern(dx, dy, shape.size) - 1);
  });
}

const sigmoid = (a: number): number => 1 / (1 + Math.exp(-a));
const bar = (along: number, across: number, size: number): number =>
  sigmoid(3 * (0.9 - Math.abs(across))) * sigmoid(3 * (size + 0.8 - Math.abs(along)));

const PATTERNS: readonly ((dx: number, dy: number, size: number) => number)[] = [
  (dx, dy, size) => sigmoid(3 * (size - Math.hypot(dx, dy))),
  (dx, dy, size) => Math.exp(-(((Math.hypot(dx, dy) - size) / 0.6) ** 2)),
  (dx, dy, size) => bar(dx, dy, size),
  (dx, dy, size) => bar(dy, dx, size),
];

/**
 * `count` images of the four shapes: class uniform, centre ~ U(2, 5)², size ~ U(1.2, 2.6), contrast ~ U(0.6, 1).
 *
 * Draws five uniforms an image from `rng`, so the first images do not depend on how many are asked for.
 */
export function shapes(rng: Rng, count: number): ImageSet {
  checkNumber('shapes: count', count, { integer: true, min: 1 });
  const uniform = rng.uniforms(5 * count);
  const pixels = new Float32Array(count * SIDE * SIDE);
  const labels = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const [u0, u1, u2, u3, u4] = uniform.subarray(5 * i, 5 * i + 5) as unknown as [number, number, number, number, number];
    labels[i] = Math.floor(u0 * PATTERNS.length);
    pixels.set(
      drawShape({ label: labels[i]!, cx: 2 + 3 * u1, cy: 2 + 3 * u2, size: 1.2 + 1.4 * u3, contrast: 0.6 + 0.4 * u4 }),
      i * SIDE * SIDE,
    );
  }
  const classes = SHAPE_CLASSES.length;
  return imageSet({ name: 'shapes', pixels, labels, count, height: SIDE, width: SIDE, channels: 1, classes, classNames: SHAPE_CLASSES });
}
