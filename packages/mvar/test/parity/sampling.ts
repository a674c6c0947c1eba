import { Rng, tf } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import { expect } from 'vitest';
import { drawTokenNoise, filterLogits, gumbelSoftmax, mvarSampler, scalesOf } from '../../src/index.ts';
import { channelsFirst, json } from './layout.ts';
import { modelOf, paramsOf } from './network.ts';
import { quantizerOf } from './tokenizer.ts';

/** Greedy samples of VAR with its cache and of MVAR without one, at every guidance: tokens, guided logits, latents. */
export function greedy(file: GoldenFile, all: Golden): number {
  const names = [
    ...new Set(
      file
        .keys()
        .filter((key) => key.includes('.'))
        .map((key) => /^(var|mvar)\.cfg[\d.]+(?=\.)/.exec(key)![0]),
    ),
  ];
  const coding = quantizerOf(file);
  for (const name of names) {
    const [, kind, guidance] = /^(var|mvar)\.cfg([\d.]+)$/.exec(name)!;
    const config = modelOf(all, kind as 'var' | 'mvar');
    const { params, quantizer } = paramsOf(all, config);
    const sampler = mvarSampler(config, coding);
    const y = file.tensor('label');
    const noise = drawTokenNoise(new Rng('greedy'), y.shape[0]!, config);
    const options = { guidance: Number(guidance), topK: Number(file.setting('top_k')) };
    const steps = [...sampler.steps({ params, codes: quantizer, y }, noise, options)];
    expect(steps.length).toBe(scalesOf(config.ladder).length);
    for (const { l, tokens, logits, keptBytes } of steps) {
      expectClose(tokens, file.host(`${name}.idx_${l}`), {}, `${name}.idx_${l}`);
      expectClose(logits, file.host(`${name}.logits_${l}`), { abs: 2e-4 }, `${name}.logits_${l}`);
      if (kind === 'mvar') expect(keptBytes).toBe(0);
    }
    expectClose(channelsFirst(steps.at(-1)!.latents), file.host(`${name}.f_hat`), { abs: 2e-5 }, `${name}.f_hat`);
    sampler.dispose();
  }
  return names.length;
}

/** top-k and top-p, and the Gumbel softmax with given draws. */
export function filters(file: GoldenFile): number {
  const logits = file.tensor('logits');
  const settings = json<[number, number][]>(file, 'filters');
  settings.forEach(([topK, topP], i) => {
    const kept = filterLogits(logits, { topK: Math.min(topK, logits.shape[2]!), topP });
    expectClose(kept, file.host(`filtered_${i}`), { abs: 1e-6 }, `filtered_${i}`);
    expectClose(tf.softmax(kept), file.host(`prob_${i}`), { abs: 1e-6 }, `prob_${i}`);
    const counts = tf.sum(tf.cast(tf.greater(kept, -Infinity), 'int32'), 2);
    expectClose(counts, file.host(`n_kept_${i}`), {}, `n_kept_${i}`);
  });
  const soft = gumbelSoftmax(logits, file.tensor('gumbel.exponential'), Number(file.setting('gumbel_tau')));
  expectClose(soft, file.host('gumbel.soft'), { abs: 1e-6 }, 'gumbel.soft');
  return settings.length + 1;
}
