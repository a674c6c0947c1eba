import { emaEvery, emaUpdate } from '@atelier/nn';
import { tf, type HostTensor } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import { augmentImages } from '../../src/index.ts';
import { number } from './cases.ts';

/** The averages of a parameter trajectory, updated every `period`-th step with decay^period. */
export function ema(file: GoldenFile): number {
  const cases = file.keys('ema.');
  const trajectory = tf.unstack(file.tensor('params'));
  for (const name of cases) {
    const decay = emaEvery(number(file.settings(name), 'decay'), Number(file.setting('period')));
    let average = { p: file.tensor('p0') };
    const averages = trajectory.map((p, step) => {
      average = emaUpdate(average, { p }, tf.scalar(decay(step)));
      return average.p;
    });
    expectClose(tf.stack(averages), file.host(name), { abs: 1e-6 }, name);
  }
  return cases.length;
}

/** Augmented images and their labels from the draws of the file, which is channels-first. */
export function edmAugment(file: GoldenFile): number {
  const settings = file.settings('config');
  const gate = (multiplier: string): number => Math.min(1, number(settings, multiplier) * number(settings, 'p'));
  for (const absent of ['yflip', 'rotate_frac']) if (number(settings, absent, 0) !== 0) throw new Error(`${file.name}: wanted ${absent}=0`);
  const draw = (name: string) => file.host(`draw.${name}`).data;
  const out = augmentImages(
    channelsLast(file.host('images')),
    {
      flip: draw('flip_bit'),
      flipGate: draw('flip_u'),
      scaleNormal: draw('scale_n'),
      scaleGate: draw('scale_u'),
      stretchNormal: draw('aniso_n'),
      stretchGate: draw('aniso_u'),
      angle: draw('aniso_rot_u'),
      angleGate: draw('aniso_rotgate_u'),
      shiftNormal: draw('trans_n'),
      shiftGate: draw('trans_u'),
    },
    { flip: gate('xflip'), scale: gate('scale'), stretch: gate('aniso'), angle: 0.5, shift: gate('translate_frac') },
  );
  expectClose(out.images, channelsLast(file.host('out')), { abs: 1e-4 }, 'images');
  expectClose(out.labels, file.host('labels'), { abs: 1e-6 }, 'labels');
  return 1;
}

/** [B, C, H, W] -> [B, H, W, C]. */
function channelsLast({ dtype, shape, data }: HostTensor): HostTensor {
  const [B, C, H, W] = shape as [number, number, number, number];
  const out = new Float32Array(data.length);
  for (let i = 0; i < B; i++)
    for (let c = 0; c < C; c++) for (let k = 0; k < H * W; k++) out[(i * H * W + k) * C + c] = data[(i * C + c) * H * W + k]!;
  return { dtype, shape: [B, H, W, C], data: out };
}
