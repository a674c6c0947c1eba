import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { encodeSafetensors, type HostTensor } from '../src/index.ts';
import { readSafetensors, writeFileAtomic, writeSafetensors } from '../src/node.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'atelier-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const tensors: Record<string, HostTensor> = { 'blocks.0.weight': { dtype: 'float32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) } };

describe('checkpoints in several files', () => {
  const other: HostTensor = { dtype: 'float32', shape: [1], data: Float32Array.of(5) };
  const index = (map: unknown): string => {
    const path = join(folder, 'model.safetensors.index.json');
    writeFileSync(path, JSON.stringify({ metadata: { total_size: 20 }, weight_map: map }));
    return path;
  };
  const whole = { 'blocks.0.weight': 'a.safetensors', bias: 'b.safetensors' };
  beforeEach(async () => {
    await writeSafetensors(join(folder, 'a.safetensors'), tensors, { step: '12' });
    await writeSafetensors(join(folder, 'b.safetensors'), { bias: other });
  });

  it('are read as one, by their index', async () => {
    expect(await readSafetensors(index(whole))).toEqual({ tensors: { ...tensors, bias: other }, metadata: { step: '12' } });
  });

  it('keep a tensor and a text that are called like a property of every object', async () => {
    await writeSafetensors(
      join(folder, 'b.safetensors'),
      Object.fromEntries([['__proto__', other]]),
      Object.fromEntries([['__proto__', 'x']]),
    );
    const map = Object.fromEntries([...Object.entries(whole).slice(0, 1), ['__proto__', 'b.safetensors']]);
    const read = await readSafetensors(index(map));
    expect(Object.keys(read.tensors)).toEqual(['blocks.0.weight', '__proto__']);
    expect(Object.keys(read.metadata)).toEqual(['step', '__proto__']);
  });

  it('are refused if their index names a tensor twice, or a file that cannot be', async () => {
    const path = index(whole);
    writeFileSync(path, '{"weight_map":{"a":"a.safetensors","a":"b.safetensors"}}');
    await expect(readSafetensors(path)).rejects.toThrow("wanted every key once, got 'a' twice");
    for (const name of ['a'.repeat(300), 'a\u0000', 'a\n', 'a\u202e'])
      await expect(readSafetensors(index({ bias: name }))).rejects.toThrow(
        "weight_map: 'bias': wanted the name of a file beside the index",
      );
  });

  it('say in one sentence what does not fit', async () => {
    const path = index(whole);
    writeFileSync(join(folder, 'b.safetensors'), encodeSafetensors({ bias: other }).subarray(0, -1));
    await expect(readSafetensors(path)).rejects.toThrow(`${join(folder, 'b.safetensors')}: tensor 'bias': wanted values up to byte 4`);
    rmSync(join(folder, 'b.safetensors'));
    await expect(readSafetensors(path)).rejects.toThrow(`${path}: wanted the shard 'b.safetensors', got ENOENT`);
    await expect(readSafetensors(index({ ...whole, bias: 'a.safetensors' }))).rejects.toThrow(
      "wanted tensor 'bias' in 'a.safetensors', got a file without it",
    );
    await writeSafetensors(join(folder, 'a.safetensors'), { ...tensors, more: other });
    await expect(readSafetensors(index({ 'blocks.0.weight': 'a.safetensors' }))).rejects.toThrow(
      "wanted only tensors that weight_map puts into 'a.safetensors', got 'more'",
    );
    await expect(readSafetensors(index({ bias: '../b.safetensors' }))).rejects.toThrow(
      "weight_map: 'bias': wanted the name of a file beside the index",
    );
    await expect(readSafetensors(index(3))).rejects.toThrow('wanted { weight_map: { tensor: file } }, got 3');
    writeFileSync(path, '<html>');
    await expect(readSafetensors(path)).rejects.toThrow(`${path}: wanted JSON, got '<html>'`);
  });
});

describe('safetensors files', () => {
  it('come back as they were written', async () => {
    const path = join(folder, 'w.safetensors');
    await writeSafetensors(path, tensors, { step: '12' });
    expect(await readSafetensors(path)).toEqual({ tensors, metadata: { step: '12' } });
    expect(readdirSync(folder)).toEqual(['w.safetensors']);
  });

  it('name the file in every error', async () => {
    const path = join(folder, 'cut.safetensors');
    await expect(readSafetensors(path)).rejects.toThrow(
      `readSafetensors: wanted a readable file, got ENOENT: no such file or directory, open '${path}'`,
    );
    await expect(readSafetensors(folder)).rejects.toThrow('readSafetensors: wanted a readable file, got EISDIR');
    writeFileSync(path, encodeSafetensors(tensors).subarray(0, -3));
    await expect(readSafetensors(path)).rejects.toThrow(
      `${path}: tensor 'blocks.0.weight': wanted values up to byte 16, got a file that ends at byte 13 of the values`,
    );
  });

  it('are not created if the tensors are refused', async () => {
    const path = join(folder, 'w.safetensors');
    await expect(writeSafetensors(path, { x: { dtype: 'float32', shape: [3], data: Float32Array.of(1) } })).rejects.toThrow(
      "tensor 'x': wanted 3 values",
    );
    expect(readdirSync(folder)).toEqual([]);
  });

  const dit = resolve('../meanflow/golden/dit-weights.safetensors');
  it.runIf(existsSync(dit))('written by the official Python library are read (runs where the meanflow golden files are)', async () => {
    const read = await readSafetensors(dit);
    expect(read.metadata['config']).toMatch(/hidden_size=\d+/);
    const hidden = Number(/hidden_size=(\d+)/.exec(read.metadata['config']!)![1]);
    const bias = read.tensors['net/x_embedder/proj/bias']!;
    expect([bias.dtype, bias.shape]).toEqual(['float32', [hidden]]);
    // All values are finite, and none of the tensors is constant zero: nothing was read from a wrong place.
    for (const [name, { data }] of Object.entries(read.tensors)) {
      expect(data.every(Number.isFinite), name).toBe(true);
      expect(
        data.some((v) => v !== 0),
        name,
      ).toBe(true);
    }
    const copy = join(folder, 'copy.safetensors');
    await writeSafetensors(copy, read.tensors, read.metadata);
    expect(await readSafetensors(copy)).toEqual(read);
  });
});

describe('writeFileAtomic', () => {
  it('replaces text and bytes as a whole', async () => {
    const path = join(folder, 'a.json');
    await writeFileAtomic(path, 'a long first text');
    await writeFileAtomic(path, 'ü');
    expect(readFileSync(path, 'utf8')).toBe('ü');
    await writeFileAtomic(path, Uint8Array.of(1, 2).subarray(1));
    expect([...readFileSync(path)]).toEqual([2]);
    expect(readdirSync(folder)).toEqual(['a.json']);
  });

  it('may be called twice for the same path at once: one of the contents remains, complete', async () => {
    const path = join(folder, 'a.txt');
    const contents = Array.from({ length: 8 }, (_, i) => String(i).repeat(10_000));
    await Promise.all(contents.map((content) => writeFileAtomic(path, content)));
    expect(contents).toContain(readFileSync(path, 'utf8'));
    expect(readdirSync(folder)).toEqual(['a.txt']);
  });

  it('leaves the target and no temporary file when it fails', async () => {
    const path = join(folder, 'taken');
    // A folder in the place of the target makes the rename fail after the temporary file is complete.
    mkdirSync(path);
    writeFileSync(join(path, 'kept'), 'kept');
    await expect(writeFileAtomic(path, 'new')).rejects.toThrow(`writeFileAtomic: wanted to write '${path}', got `);
    expect(readdirSync(folder)).toEqual(['taken']);
    expect(readdirSync(path)).toEqual(['kept']);
    await expect(writeFileAtomic(join(folder, 'absent', 'file'), 'new')).rejects.toThrow('ENOENT');
    await expect(writeFileAtomic(join(folder, 'n'), 3 as never)).rejects.toThrow('wanted bytes or text');
    expect(readdirSync(folder)).toEqual(['taken']);
  });
});
