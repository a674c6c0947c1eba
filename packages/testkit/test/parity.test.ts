import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compile, encodeSafetensors, tf } from '@atelier/tensor';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { golden } from '../src/index.ts';
import { checkParity, everyEngine, parityPlan, testEngines } from '../src/vitest.ts';

describe('parityPlan: which file belongs to which check', () => {
  const names = ['gsj_a', 'gsj_block', 'weights_a', 'weights_b'];

  it('the longest beginning that fits counts, here and elsewhere', () => {
    expect(parityPlan(names, ['gsj_', 'gsj_block'], ['weights'])).toEqual({
      ours: [
        { name: 'gsj_a', prefix: 'gsj_' },
        { name: 'gsj_block', prefix: 'gsj_block' },
      ],
      others: ['weights_a', 'weights_b'],
      unknown: [],
      absent: [],
    });
    expect(parityPlan(names, ['gsj_'], ['gsj_b', 'weights']).others).toEqual(['gsj_block', 'weights_a', 'weights_b']);
  });

  it('names files of no kind, and kinds without a file', () => {
    const plan = parityPlan(names, ['gsj_', 'bpd'], []);
    expect([plan.unknown, plan.absent]).toEqual([['weights_a', 'weights_b'], ['bpd']]);
  });

  it('refuses a kind on both sides, and no check at all', () => {
    expect(() => parityPlan(names, ['gsj_'], ['gsj_'])).toThrow("parity: wanted 'gsj_' to be checked here or elsewhere, got both");
    expect(() => parityPlan(names, [], ['gsj_'])).toThrow('parity: wanted a check, got none');
  });
});

describe('checkParity: one file', () => {
  const chosen = process.env['ATELIER_GOLDEN'];
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'atelier-'));
    mkdirSync(join(folder, 'paper'));
    process.env['ATELIER_GOLDEN'] = folder;
    writeFileSync(join(folder, 'paper', 'none.safetensors'), encodeSafetensors({}));
    writeFileSync(
      join(folder, 'paper', 'one.safetensors'),
      encodeSafetensors({ x: { dtype: 'float32', shape: [1], data: Float32Array.of(2) } }),
    );
    writeFileSync(join(folder, 'paper', 'nothing.safetensors'), '');
  });
  afterEach(() => {
    if (chosen === undefined) delete process.env['ATELIER_GOLDEN'];
    else process.env['ATELIER_GOLDEN'] = chosen;
    rmSync(folder, { recursive: true });
  });

  it('counts its cases and disposes what the check made', () => {
    const before = tf.memory().numTensors;
    const seen: number[] = [];
    checkParity((file) => seen.push(file.tensor('x').dataSync()[0]!), 'one', golden('paper'));
    expect([seen, tf.memory().numTensors]).toEqual([[2], before]);
  });

  it.each([
    ['one', 0, "parity: wanted at least one case in 'one', got 0"],
    ['one', NaN, "parity: wanted at least one case in 'one', got NaN"],
    ['none', 1, 'golden none: wanted tensors'],
    ['nothing', 1, 'nothing.safetensors'],
  ])('%s with %s cases fails', (name, cases, message) => {
    expect(() => checkParity(() => cases, name, golden('paper'))).toThrow(message);
  });
});

describe('the engines that tests run on', () => {
  it('are the chosen one and cpu; an unknown one is refused', () => {
    const chosen = process.env['ATELIER_ENGINE'];
    try {
      process.env['ATELIER_ENGINE'] = 'wasm';
      expect(testEngines().map(({ name }) => name)).toEqual(['wasm', 'cpu']);
      process.env['ATELIER_ENGINE'] = 'cpu';
      expect(testEngines().map(({ name }) => name)).toEqual(['cpu']);
      process.env['ATELIER_ENGINE'] = 'gpu';
      expect(() => testEngines()).toThrow("testEngines: wanted ATELIER_ENGINE to be one of ort, cpu, wasm, tensorflow, got 'gpu'");
    } finally {
      if (chosen === undefined) delete process.env['ATELIER_ENGINE'];
      else process.env['ATELIER_ENGINE'] = chosen;
    }
  });

  everyEngine((engine) => {
    it('are current while their tests run, and can do what they say', () => {
      expect(tf.getBackend()).toBe(engine.name);
      const double = compile((x: tf.Tensor) => tf.mul(x, 2));
      const out = double(tf.scalar(3));
      expect(double.graphs).toBe(engine.graphs ? 1 : 0);
      if (engine.synchronous) expect(out.dataSync()[0]).toBe(6);
      else expect(() => out.dataSync()).toThrow();
    });
  });
});
