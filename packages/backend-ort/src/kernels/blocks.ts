import type { Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { tf } from '../tf.ts';
import { padded } from './shape.ts';

/** Kernels that move pixels between the spatial axes and the batch or channel axis. Each is a reshape, a transpose and a reshape. */

/** [B, H, W, C r²] -> [B, H r, W r, C] */
function depthToSpace(k: KernelCall): Node {
  const g = k.graph;
  const format = k.attribute<string>('dataFormat');
  if (format !== 'NHWC') throw k.refuse('dataFormat NHWC', format);
  const x = k.node('x');
  const r = k.attribute<number>('blockSize');
  const [b, h, w, c] = x.shape as [number, number, number, number];
  const split = g.reshape(x, [b, h, w, r, r, c / (r * r)]);
  return g.reshape(g.transpose(split, [0, 1, 3, 2, 4, 5]), [b, h * r, w * r, c / (r * r)]);
}

/** [B Π block, …] -> [B, … block, …], cropped. */
function batchToSpace(k: KernelCall): Node {
  const g = k.graph;
  const x = k.node('x');
  const block = k.attribute<number[]>('blockShape');
  const crops = k.attribute<number[][]>('crops');
  const count = block.reduce((a, b) => a * b, 1);
  const whole = [...x.shape];
  const split = g.reshape(x, tf.backend_util.getReshaped(whole, block, count));
  const moved = g.transpose(split, tf.backend_util.getPermuted(split.shape.length, block.length));
  const merged = g.reshape(moved, tf.backend_util.getReshapedPermuted(whole, block, count));
  const [before, after] = [0, 1].map((side) => merged.shape.map((_, axis) => (axis === 0 ? 0 : (crops[axis - 1]?.[side] ?? 0)))) as [
    number[],
    number[],
  ];
  const size = merged.shape.map((n, axis) => n - before[axis]! - after[axis]!);
  return g.slice(merged, before, size);
}

/** [B, … block, …] -> [B Π block, …], after padding with zeros. */
function spaceToBatch(k: KernelCall): Node {
  const g = k.graph;
  const raw = k.node('x');
  const block = k.attribute<number[]>('blockShape');
  const paddings = k.attribute<number[][]>('paddings');
  const count = block.reduce((a, b) => a * b, 1);
  const widths = raw.shape.map((_, axis) => (axis === 0 ? [0, 0] : (paddings[axis - 1] ?? [0, 0])));
  const x = padded(g, raw, widths, 0);
  const split = g.reshape(x, tf.backend_util.getReshaped([...x.shape], block, count, false));
  const moved = g.transpose(split, tf.backend_util.getPermuted(split.shape.length, block.length, false));
  return g.reshape(moved, tf.backend_util.getReshapedPermuted([...x.shape], block, count, false));
}

export const blocks: KernelTable = {
  DepthToSpace: depthToSpace,
  BatchToSpaceND: batchToSpace,
  SpaceToBatchND: spaceToBatch,
};
