import { Rng, tf, vjp, type Tensor, type Tree } from '@atelier/tensor';
import { fineStage, tileLayout, toTiles, vsaAttention, vsaStages, type Grid } from '@atelier/vsa';
import { attentionForward, attentionGradient, callWork, type EngineWork } from './engine.ts';

/** 16 × 32 × 32 tokens, 4 heads of 64 channels, tiles of 64 tokens, 32 of 256 tiles: 87.5 % sparse. */
const VIDEO = { grid: [16, 32, 32] as Grid, heads: 4, width: 64, keep: 32 } as const;

export type Video = { grid: Grid; heads: number; width: number; keep: number };

/** Sparse and dense attention of the same standard normal inputs, forward and with gradients. */
export type VideoWorks = { fine: EngineWork; whole: EngineWork; dense: EngineWork; fineGradient: EngineWork; denseGradient: EngineWork };

/** @param video sizes; smaller ones for tests */
export function videoWorks({ grid, heads, width, keep }: Video = VIDEO): VideoWorks {
  const layout = tileLayout(grid);
  const shape = [1, heads, layout.tokens, width] as const;
  const rng = new Rng('bench vsa');
  const [q, k, v, w] = ['q', 'k', 'v', 'w'].map((name) => rng.child(name).normal([...shape])) as [Tensor, Tensor, Tensor, Tensor];
  const tiles = Object.fromEntries(Object.entries({ q, k, v, w }).map(([name, x]) => [name, toTiles(x, layout)]));
  const lists = tf.tidy(() => vsaStages(q, k, v, { grid, keep }).lists);
  const flops = 4 * heads * layout.tokens * keep * layout.volume * width;
  const fine = (_: Tree, x: Record<string, Tensor>): Tensor[] => [fineStage(x.q!, x.k!, x.v!, x.lists!, layout.sizes)];
  const fineGradient = (_: Tree, x: Record<string, Tensor>): Tensor[] => {
    const { value, grads } = vjp((...at) => fineStage(at[0]!, at[1]!, at[2]!, x.lists!, layout.sizes), [x.q!, x.k!, x.v!], x.w!);
    return [value, ...grads];
  };
  return {
    fine: callWork({}, { ...tiles, lists }, fine, { kind: 'fine' }, flops),
    whole: callWork({}, { q, k, v }, (_, x) => [vsaAttention(x.q!, x.k!, x.v!, { grid, keep })], { kind: 'vsa' }, flops),
    dense: attentionForward(shape),
    fineGradient: callWork({}, { ...tiles, lists }, fineGradient, { kind: 'fine-grad' }, 3 * flops),
    denseGradient: attentionGradient(shape),
  };
}
