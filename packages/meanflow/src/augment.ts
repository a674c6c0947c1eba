import type { HostTensor, Rng } from '@atelier/tensor';
import { affine, multiply, rotation, scaling, translation, type Affine } from './affine.ts';
import { resample, TAPS } from './resample.ts';

/**
 * The random numbers of one augmentation of B images, each [B] (shift [2·B]: all x, then all y): `flip` bits 0 or 1, `…Normal` standard normals,
 * `…Gate` and `angle` uniforms in [0, 1).
 */
export type AugmentDraws = {
  flip: ArrayLike<number>;
  flipGate: ArrayLike<number>;
  scaleNormal: ArrayLike<number>;
  scaleGate: ArrayLike<number>;
  stretchNormal: ArrayLike<number>;
  stretchGate: ArrayLike<number>;
  angle: ArrayLike<number>;
  angleGate: ArrayLike<number>;
  shiftNormal: ArrayLike<number>;
  shiftGate: ArrayLike<number>;
};

/** The probability of each transform for an image; `angle` is the probability that a stretch is along a tilted axis. */
export type AugmentGates = { flip: number; scale: number; stretch: number; angle: number; shift: number };

/** The CIFAR-10 setting: an image is mirrored if its flip bit is 1; every other transform has probability 0.12. */
export const cifarAugmentGates: AugmentGates = { flip: 1, scale: 0.12, stretch: 0.12, angle: 0.5, shift: 0.12 };

/** Standard deviations: log2 of the scale, log2 of the stretch, and the shift as a fraction of the side. */
const SCALE_STD = 0.2;
const STRETCH_STD = 0.2;
const SHIFT_STD = 0.125;

/** Draws what `augmentImages` needs, in the order of the official code. */
export function drawAugmentation(rng: Rng, batch: number): AugmentDraws {
  if (!Number.isInteger(batch) || batch < 1) throw new Error(`drawAugmentation: batch: wanted a whole number of at least 1, got ${batch}`);
  const flip = rng.integers(batch, 0, 2);
  const flipGate = rng.uniforms(batch);
  const scaleNormal = rng.normals(batch);
  const scaleGate = rng.uniforms(batch);
  const stretchNormal = rng.normals(batch);
  const angle = rng.uniforms(batch);
  const stretchGate = rng.uniforms(batch);
  const angleGate = rng.uniforms(batch);
  const shiftNormal = rng.normals(2 * batch);
  const shiftGate = rng.uniforms(batch);
  return { flip, flipGate, scaleNormal, scaleGate, stretchNormal, stretchGate, angle, angleGate, shiftNormal, shiftGate };
}

/**
 * The augmentation of EDM (Karras et al., arXiv 2206.00364) as the official CIFAR-10 code of MeanFlow uses it: mirror, isotropic scale, stretch
 * along an axis, shift. The image is resampled once, with a 12-tap low-pass filter at twice the resolution and reflected borders.
 *
 * The six labels tell the network what was done, so that it can be asked for unaugmented images (labels 0):
 * (flip, w1, w2·cos ρ, w2·sin ρ, wx, wy). It runs on the host, because the size of the borders depends on the draws of the whole batch.
 * @param images [B, H, W, C] float32, any range, H and W at least 2
 * @returns images of the same shape and labels [B, 6]
 * @throws Error if the shapes of images and draws do not agree
 */
export function augmentImages(
  images: HostTensor,
  draws: AugmentDraws,
  gates: AugmentGates = cifarAugmentGates,
): { images: HostTensor; labels: HostTensor } {
  const { B, H, W, C } = checkImages(images);
  checkDraws(draws, B);
  checkGates(gates);
  const chosen = Array.from({ length: B }, (_, i) => choose(draws, i, B, gates));
  const maps = chosen.map((row) => inverseMap(row, H, W));
  const margins = borders(maps, H, W);
  const out = new Float32Array(images.data.length);
  const plane = new Float32Array(H * W);
  for (let i = 0; i < B; i++) {
    for (let channel = 0; channel < C; channel++) {
      for (let row = 0; row < H; row++) {
        for (let column = 0; column < W; column++) {
          const from = chosen[i]!.flip === 1 ? W - 1 - column : column;
          plane[row * W + column] = images.data[((i * H + row) * W + from) * C + channel]!;
        }
      }
      const moved = resample(plane, H, W, maps[i]!, margins);
      for (let k = 0; k < H * W; k++) out[(i * H * W + k) * C + channel] = moved[k]!;
    }
  }
  const labels = new Float32Array(B * 6);
  chosen.forEach(({ flip, scale, stretch, angle, shiftX, shiftY }, i) =>
    labels.set([flip, scale, stretch * Math.cos(angle), stretch * Math.sin(angle), shiftX, shiftY], 6 * i),
  );
  return {
    images: { dtype: 'float32', shape: [...images.shape], data: out },
    labels: { dtype: 'float32', shape: [B, 6], data: labels },
  };
}

type Chosen = { flip: number; scale: number; stretch: number; angle: number; shiftX: number; shiftY: number };

/** The transforms of image i. A quantity is 0 if its uniform number is not below the gate. */
function choose(draws: AugmentDraws, i: number, batch: number, gates: AugmentGates): Chosen {
  const gated = (value: number, uniform: number, gate: number): number => (uniform < gate ? value : 0);
  const shift = (value: number): number => gated(value, draws.shiftGate[i]!, gates.shift);
  return {
    flip: gated(draws.flip[i]!, draws.flipGate[i]!, gates.flip),
    scale: gated(draws.scaleNormal[i]!, draws.scaleGate[i]!, gates.scale),
    stretch: gated(draws.stretchNormal[i]!, draws.stretchGate[i]!, gates.stretch),
    angle: gated((2 * draws.angle[i]! - 1) * Math.PI, draws.angleGate[i]!, gates.angle),
    shiftX: shift(draws.shiftNormal[i]!),
    shiftY: shift(draws.shiftNormal[batch + i]!),
  };
}

/** The map from output to input pixels, in pixels from the centre, x to the right and y down. */
function inverseMap({ scale, stretch, angle, shiftX, shiftY }: Chosen, H: number, W: number): Affine {
  const isotropic = 2 ** (-SCALE_STD * scale);
  const along = 2 ** (-STRETCH_STD * stretch);
  return multiply(
    scaling(isotropic, isotropic),
    rotation(-angle),
    scaling(along, 1 / along),
    rotation(angle),
    translation(-SHIFT_STD * W * shiftX, -SHIFT_STD * H * shiftY),
  );
}

/** Borders [left, top, right, bottom] that are wide enough for every output pixel of the batch; each is at most one pixel less than the side. */
function borders(maps: Affine[], H: number, W: number): readonly [number, number, number, number] {
  const [halfX, halfY] = [(W - 1) / 2, (H - 1) / 2];
  const corners = maps.flatMap((map) => [-1, 1].flatMap((i) => [-1, 1].map((j) => affine(map, i * halfX, j * halfY))));
  const border = (reach: (corner: readonly [number, number]) => number, half: number, side: number): number =>
    Math.ceil(Math.min(Math.max(Math.max(...corners.map(reach)) + TAPS / 2 - half, 0), side - 1));
  return [border(([x]) => -x, halfX, W), border(([, y]) => -y, halfY, H), border(([x]) => x, halfX, W), border(([, y]) => y, halfY, H)];
}

function checkImages(images: HostTensor): { B: number; H: number; W: number; C: number } {
  if (images.dtype !== 'float32' || images.shape.length !== 4)
    throw new Error(`augmentImages: images: wanted float32 [B, H, W, C], got ${images.dtype} [${images.shape.join(', ')}]`);
  const [B, H, W, C] = images.shape as [number, number, number, number];
  if (H < 2 || W < 2) throw new Error(`augmentImages: images: wanted sides of at least 2 pixels, got ${H} x ${W}`);
  return { B, H, W, C };
}

function checkDraws(draws: AugmentDraws, batch: number): void {
  for (const [name, values] of Object.entries(draws)) {
    const wanted = name === 'shiftNormal' ? 2 * batch : batch;
    if (values.length !== wanted) throw new Error(`augmentImages: draws.${name}: wanted ${wanted} numbers, got ${values.length}`);
  }
}

function checkGates(gates: AugmentGates): void {
  for (const [name, gate] of Object.entries(gates))
    if (!(gate >= 0 && gate <= 1)) throw new Error(`augmentImages: gates.${name}: wanted a probability in [0, 1], got ${gate}`);
}
