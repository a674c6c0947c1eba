import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { disposeTree, tf, useEngine } from '@atelier/tensor';
import { beforeAll, expect, it } from 'vitest';
import { CheckpointFolder } from '../src/runner/checkpoint.ts';
import { temporaryFolder } from './child.ts';

beforeAll(async () => void (await useEngine()));

it('brings back trees of every dtype, single tensors, empty records and JSON, bit for bit', async () => {
  const checkpoints = new CheckpointFolder(temporaryFolder());
  const values = Float32Array.from([0, -0, 1e-45, 3.4e38, Math.fround(1 / 3), -1]);
  const tree = { layers: [tf.tensor2d(values, [2, 3]), tf.tensor1d([7], 'int32')], mask: tf.tensor1d([true, false], 'bool'), nothing: {} };
  const step = tf.scalar(12);
  const state = { step: 3, half: 0.1 + 0.2, list: [1, null, 'ä'], none: null };
  await checkpoints.save('a.b', { params: tree, step }, state);
  const found = (await checkpoints.load('a.b'))!;
  expect(found.state).toEqual(state);
  expect(Object.keys(found.tensors).sort()).toEqual(['params.layers.0', 'params.layers.1', 'params.mask', 'step']);
  const back = found.tree('params', tree);
  expect(back.nothing).toEqual({});
  expect(new Uint32Array((await back.layers[0]!.data()).slice().buffer)).toEqual(new Uint32Array(values.buffer));
  expect([await back.layers[1]!.data(), await back.mask.data()].map((data) => [...data])).toEqual([[7], [1, 0]]);
  expect((await found.tree('step', step).data())[0]).toBe(12);
  disposeTree([tree, back, step]);
});

it('says which tensor is missing, strange, or of another shape or dtype', async () => {
  const folder = temporaryFolder();
  const checkpoints = new CheckpointFolder(folder);
  const [w, b] = [tf.zeros([2]), tf.zeros([1])];
  await checkpoints.save('x', { params: { w, b } }, {});
  const found = (await checkpoints.load('x'))!;
  const path = join(folder, 'x.safetensors');
  expect(() => found.tree('params', { w, b, c: b })).toThrow(`${path}: wanted a tensor 'params.c', got none`);
  expect(() => found.tree('params', { w })).toThrow(`${path}: holds 'params.b', which has no place in this model`);
  expect(() => found.tree('params', { w: b, b })).toThrow(`${path}: 'params.w': wanted float32 [1], got float32 [2]`);
  expect(() => found.tree('params', { w: tf.zeros([2], 'int32'), b })).toThrow(`${path}: 'params.w': wanted int32 [2], got float32 [2]`);
  expect(() => found.tree('ema', { w })).toThrow(`${path}: wanted a tensor 'ema.w', got none`);
  disposeTree([w, b]);
});

it('refuses numbers that are not finite and state that JSON would change, and keeps the file before', async () => {
  const folder = temporaryFolder();
  const checkpoints = new CheckpointFolder(folder);
  const [good, bad] = [tf.ones([2]), tf.tensor1d([1, NaN])];
  await checkpoints.save('x', { w: good }, { step: 1 });
  await expect(checkpoints.save('x', { w: bad }, { step: 2 })).rejects.toThrow(
    "checkpoint 'x': 'w' holds NaN at position 1, so it was not saved",
  );
  for (const [state, words] of [
    [{ a: [1, Infinity] }, "checkpoint 'x': state.a.1: wanted a finite number, got Infinity"],
    [{ a: undefined }, "checkpoint 'x': state.a: wanted plain JSON, got undefined"],
    [{ a: new Map() }, "checkpoint 'x': state.a: wanted plain JSON, got a Map"],
  ] as const) {
    await expect(checkpoints.save('x', { w: good }, state as never)).rejects.toThrow(words);
  }
  expect((await checkpoints.load('x'))!.state).toEqual({ step: 1 });
  expect(readdirSync(folder)).toEqual(['x.safetensors']);
  disposeTree([good, bad]);
});

it('is null where there is none, and refuses names that would leave the folder and files that are no checkpoints', async () => {
  const folder = temporaryFolder();
  const checkpoints = new CheckpointFolder(folder);
  expect(await checkpoints.load('none')).toBeNull();
  for (const name of ['../x', 'a/b', '', '.x', 'a..b']) {
    await expect(checkpoints.save(name, {}, {})).rejects.toThrow(
      `checkpoint: wanted a name of letters, digits, '-', '_' and '.', got '${name}'`,
    );
  }
  writeFileSync(join(folder, 'text.safetensors'), 'not a checkpoint at all');
  await expect(checkpoints.load('text')).rejects.toThrow('text.safetensors');
  await new CheckpointFolder(folder).save('other', {}, null);
  rmSync(join(folder, 'other.safetensors'));
  expect(existsSync(join(folder, 'other.safetensors'))).toBe(false);
});

it('runs what must be on the disk before the checkpoint just before it', async () => {
  const folder = temporaryFolder();
  const seen: string[][] = [];
  const checkpoints = new CheckpointFolder(folder, () => void seen.push(readdirSync(folder)));
  await checkpoints.save('a', {}, 1);
  await checkpoints.save('b', {}, 2);
  expect(seen).toEqual([[], ['a.safetensors']]);
});
