import { compile, flattenTree, Rng, tf, toHostTree, treeMap, type Tensor, type Tree } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { everyEngine } from '@atelier/testkit/vitest';
import { describe, expect, it } from 'vitest';
import { applyWan, initWan, retrofitWan, wanFromStateDict, wanParameterCount, type WanParams, type WanSettings } from '../src/index.ts';

const settings: WanSettings = { heads: 2, headDim: 6, ffnDim: 8, layers: 2, inChannels: 3, textDim: 5, freqDim: 4, tile: [2, 2, 2] };

everyEngine(() => {
  describe('retrofitWan', () => {
    it('is the dense network with all tiles, another one with fewer, and is sparse attention without the gate', async () => {
      const dense = initWan(new Rng('dense'), { ...settings, gate: false });
      const sparse = retrofitWan(dense, settings);
      const rng = new Rng('inputs');
      const [x, text, t] = [rng.child('x').normal([2, 3, 6, 8, 3]), rng.child('text').normal([2, 4, 5]), tf.tensor1d([0.3, 0.8])];
      tf.tidy(() => {
        const inputs = { t, text };
        const wanted = applyWan(dense, x, inputs, { ...settings, gate: false }, 'dense');
        expectClose(applyWan(sparse, x, inputs, settings, { sparsity: 0 }), wanted, { max: 1e-5 });
        const fewer = applyWan(sparse, x, inputs, settings, { keep: 2 });
        expect(tf.max(tf.abs(tf.sub(fewer, wanted))).dataSync()[0]).toBeGreaterThan(1e-3);
        expectClose(applyWan(dense, x, inputs, { ...settings, gate: false }, { keep: 2 }), fewer, { max: 1e-6 });
      });
      const run = compile((p: WanParams, video: Tensor, words: Tensor, time: Tensor) =>
        applyWan(p, video, { t: time, text: words }, settings, { keep: 2 }),
      );
      await expectNoLeak(() => run(sparse, x, text, t).dispose());
      run.dispose();
      const host = await toHostTree(dense as Tree);
      const again = retrofitWan(host, settings);
      for (const [name, leaf] of Object.entries(flattenTree(again as Tree))) expectClose(leaf, flattenTree(sparse as Tree)[name]!);
    });
  });

  describe('wanFromStateDict', () => {
    it('reads the names of diffusers, and refuses a checkpoint without gates', async () => {
      const params = initWan(new Rng('names'), settings);
      const host = await toHostTree(params as Tree);
      const renamed = Object.fromEntries(
        Object.entries(host).map(([name, value]) => [
          name
            .replace('patch_embedding.proj', 'patch_embedding')
            .replace('mlp.fc_in', 'linear_1')
            .replace('mlp.fc_out', 'linear_2')
            .replace('time_modulation.linear', 'time_proj')
            .replace('text_embedder.fc_in', 'text_embedder.linear_1')
            .replace('text_embedder.fc_out', 'text_embedder.linear_2')
            .replace(/^(blocks\.\d)\.(to_[qkv]|norm_[qk])/, '$1.attn1.$2')
            .replace(/^(blocks\.\d)\.to_out/, '$1.attn1.to_out.0')
            .replace('self_attn_residual_norm.norm', 'norm2')
            .replace('attn2.to_out', 'attn2.to_out.0')
            .replace('ffn.fc_in', 'ffn.net.0.proj')
            .replace('ffn.fc_out', 'ffn.net.2'),
          value,
        ]),
      );
      const read = wanFromStateDict(renamed, settings);
      treeMap((leaf, path) => (expectClose(leaf, host[path]!), leaf), read as Tree);
      const withoutGates = Object.fromEntries(Object.entries(host).filter(([name]) => !name.includes('gate')));
      expect(() => wanFromStateDict(withoutGates, settings)).toThrow('missing blocks.0.to_gate_compress.weight');
      expect(Object.values(host).reduce((sum, { data }) => sum + data.length, 0)).toBe(wanParameterCount(settings));
    });
  });
});
