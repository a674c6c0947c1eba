import { describe, expect, it } from 'vitest';
import { experiments } from '../src/registry.ts';
import { resolveConfig } from '../src/runner/config.ts';
import { checkDisk, checkLimits, checkMemory } from '../src/runner/limits.ts';

const named = (name: string) => experiments.find((experiment) => experiment.name === name)!;
const GB = 2 ** 30;

describe('sizes that no machine can hold', () => {
  it.each([
    ['meanflow', 'images.drawn=1e9', "meanflow: 'images.drawn': wanted a whole number <= 10000000, got 1000000000"],
    ['meanflow', 'gaussian.width=1000000', "meanflow: 'gaussian.width': wanted a whole number <= 65536, got 1000000"],
    ['meanflow', 'points.training.steps=1e10', "meanflow: 'points.training.steps': wanted a whole number <= 2147483647, got 10000000000"],
    ['swin-dit', 'fields.images=1e9', "swin-dit: 'fields.images': wanted a whole number <= 1000000, got 1000000000"],
    ['gs-jacobi', 'timing=[1, 1e10]', "gs-jacobi: 'timing.1': wanted a whole number <= 2147483647, got 10000000000"],
  ])('%s %s', (name, word, sentence) => {
    expect(() => resolveConfig(named(name), 'smoke', [word])).toThrow(sentence);
  });

  it('are refused by memory, before a process would end', () => {
    const config = resolveConfig(named('meanflow'), 'smoke', ['gaussian.width=20000']);
    expect(() => checkMemory('meanflow', config, 16 * GB)).toThrow(
      "meanflow: 'gaussian.width': training a network of width 20000 and 2 layers needs at least 20.9 GB, and 16.0 GB are free; choose a smaller width",
    );
    expect(() => checkMemory('meanflow', config, 64 * GB)).not.toThrow();
  });

  it('are refused by the disk, before anything is written', () => {
    const config = resolveConfig(named('meanflow'), 'smoke', ['gaussian.width=20000']);
    // 6 copies × 4 bytes × 2 × 20000².
    expect(() => checkDisk('meanflow', config, 16 * GB)).toThrow(
      'meanflow: the checkpoints need at least 17.9 GB, and 16.0 GB are free on the disk of the runs',
    );
    expect(() => checkDisk('meanflow', config, 18 * GB)).not.toThrow();
  });

  it('count a transformer with all matrices of a layer', () => {
    // 7 copies × 4 bytes × 12 × 12 × 768².
    const network = { network: { width: 768, depth: 12, heads: 12 } };
    expect(() => checkMemory('x', network, 7 * 4 * 12 * 12 * 768 ** 2 - 1)).toThrow("x: 'network.width'");
    expect(() => checkMemory('x', network, 7 * 4 * 12 * 12 * 768 ** 2)).not.toThrow();
  });

  it('are not found in any preset; those for one machine fit into 4 GB', () => {
    for (const experiment of experiments)
      for (const preset of Object.keys(experiment.presets)) {
        const config = resolveConfig(experiment, preset, []);
        expect(() => checkLimits(experiment.name, config)).not.toThrow();
        if (preset !== 'paper') expect(() => checkMemory(`${experiment.name} ${preset}`, config, 4 * GB)).not.toThrow();
      }
  });
});
