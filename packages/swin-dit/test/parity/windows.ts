import { tf } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import {
  relativePositionIndex,
  rollTokens,
  shiftMask,
  swinBlock,
  windowAttention,
  windowPartition,
  windowReverse,
  type SwinBlockParams,
  type WindowAttentionParams,
} from '../../src/index.ts';
import { parametersOf, tuples } from './cases.ts';
import { expectGradientsOf, VALUE } from './gradients.ts';

/** Partition and its inverse, masks of shifted windows with the raster that they belong to, index tables: all exact. */
export function windowOps(file: GoldenFile): number {
  const parts = tuples(file, 'part');
  parts.forEach(([, h, w, , M], i) => {
    const x = file.tensor(`part${i}.in`);
    const windows = windowPartition(x, M!);
    expectClose(windows, file.host(`part${i}.out`), {}, `part${i}`);
    expectClose(windowReverse(windows, { h: h!, w: w! }), x, {}, `part${i} reversed`);
  });
  const masks = tuples(file, 'mask');
  masks.forEach(([h, w, M, shift], i) => {
    const grid = { h: h!, w: w! };
    expectClose(shiftMask(grid, M!, shift!), file.host(`mask${i}.attn_mask`).data, {}, `mask${i}`);
    const raster = tf.reshape(tf.range(0, h! * w!), [1, h! * w!, 1]);
    const rolled = tf.reshape(rollTokens(raster, grid, shift!), [1, h!, w!, 1]);
    expectClose(rolled, file.host(`mask${i}.rolled`), {}, `mask${i} rolled`);
    expectClose(windowPartition(rolled, M!), file.host(`mask${i}.windows`), {}, `mask${i} windows`);
  });
  const tables = tuples(file, 'rel');
  tables.forEach(([rows, columns], i) =>
    expectClose(relativePositionIndex(rows!, columns!), file.host(`rel${i}.index`).data, {}, `rel${i}`),
  );
  return parts.length + masks.length + tables.length;
}

/** Swin's attention of windows, plain and masked, with the gradients of the masked one. */
export function windowAttentions(file: GoldenFile): number {
  const cases = tuples(file, 'cases');
  cases.forEach(([rows, columns, , heads], i) => {
    const name = `a${i}`;
    const params = parametersOf(file, `${name}.w.`) as WindowAttentionParams;
    expectClose(relativePositionIndex(rows!, columns!), file.host(`${name}.w.relative_position_index`).data, {}, name);
    const sizes = { rows: rows!, columns: columns!, heads: heads! };
    const mask = file.has(`${name}.in.mask`) ? file.tensor(`${name}.in.mask`) : undefined;
    const inputs = { params, x: file.tensor(`${name}.in.x`) };
    const masked = { ...sizes, ...(mask && { mask }) };
    expectClose(windowAttention(params, inputs.x, sizes), file.host(`${name}.out_nomask`), VALUE, `${name} without mask`);
    if (mask) expectClose(windowAttention(params, inputs.x, masked), file.host(`${name}.out_mask`), VALUE, `${name} with mask`);
    expectGradientsOf(file, name, inputs, (at) => windowAttention(at.params, at.x, masked));
  });
  return cases.length;
}

/** Whole blocks of the Swin transformer: no shift, a shift, a grid that is not square, a window larger than the grid. */
export function swinBlocks(file: GoldenFile): number {
  const cases = tuples(file, 'cases');
  cases.forEach(([, h, w, heads, window, shift], i) => {
    const name = `b${i}`;
    const inputs = { params: parametersOf(file, `${name}.w.`) as SwinBlockParams, x: file.tensor(`${name}.in.x`) };
    const block = { grid: { h: h!, w: w! }, heads: heads!, window: window!, shift: shift! };
    if (file.has(`${name}.w.attn_mask`))
      expectClose(shiftMask(block.grid, window!, shift!), file.host(`${name}.w.attn_mask`).data, {}, `${name} mask`);
    expectClose(swinBlock(inputs.params, inputs.x, block), file.host(`${name}.out`), VALUE, name);
    expectGradientsOf(file, name, inputs, (at) => swinBlock(at.params, at.x, block));
  });
  return cases.length;
}
