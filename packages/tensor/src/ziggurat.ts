/**
 * The ziggurat of the standard normal density with 128 layers of equal area: "The ziggurat method for generating random variables",
 * Marsaglia and Tsang, J. Stat. Software 5(8), 2000. Layer, sign and magnitude come from different bits of the word (Doornik, 2005).
 */

/** Start of the tail: the right edge of the rectangle of the bottom layer. */
export const TAIL = 3.442619855899;
const AREA = 9.91256303526217e-3;
export const LAYERS = 128;
const STEPS = 2 ** 24;

/** If the 24-bit magnitude is below `inside[layer]`, the point is under the density at every height of the layer. */
export const inside = new Int32Array(LAYERS);
/** Width of the layer divided by 2²⁴: the change of x per unit of the magnitude. */
export const step = new Float64Array(LAYERS);
/** exp(-x²/2) at the right edge of the layer. */
export const height = new Float64Array(LAYERS);

const density = (x: number): number => Math.exp(-0.5 * x * x);

// Layer 0 contains the tail. Its rectangle has the width AREA / f(TAIL), so that its area equals that of the other layers. Layer 127 is the
// top one.
let edge = TAIL;
step[0] = AREA / density(TAIL) / STEPS;
inside[0] = Math.floor(TAIL / step[0]);
height[0] = density(TAIL);
for (let layer = 1; layer < LAYERS; layer++) {
  const upper = layer === LAYERS - 1 ? 0 : Math.sqrt(-2 * Math.log(AREA / edge + density(edge)));
  step[layer] = edge / STEPS;
  inside[layer] = Math.floor((upper / edge) * STEPS);
  height[layer] = density(edge);
  edge = upper;
}
