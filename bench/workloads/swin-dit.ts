import { ditBlocks, ditMacs, initDiT, multiHeadSelfAttention, silu, type DiTBlockParams } from '@atelier/nn';
import { initSwinDiT, pswa, swinDiTMacs, type PswaLayer, type SwinDiTBlockParams, type SwinDiTSettings } from '@atelier/swin-dit';
import { compile, flattenTree, Rng, tf, treeMap, valueAndGrad, type Tensor, type Tree } from '@atelier/tensor';
import { callWork, type EngineWork } from './engine.ts';

/** Width 256 with 8 heads, half of them with windows of 8 × 8. The ramp of the paper has such a layer in its middle. */
export const BLOCK = { width: 256, heads: 8, windowHeads: 4, window: 8 } as const;

type Sizes = { width: number; heads: number; windowHeads: number; window: number };

/**
 * Forward and backward pass of a block. `macs` are the multiply-accumulates of its forward pass for one image by formula; `counted` counts
 * them in the graph.
 */
export type BlockWork = EngineWork & { macs: number; counted: () => number };

/**
 * One block on `images` images of side × side tokens, as in a network: the gradients of Σ out·gradient with respect to tokens, condition
 * and parameters. `kind` chooses the DiT block or the PSWA block.
 */
export function blockWork(kind: 'dit' | 'pswa', images: number, side: number, sizes: Sizes = BLOCK): BlockWork {
  const { width: D, heads, windowHeads, window } = sizes;
  const T = side * side;
  const rng = new Rng('bench swin-dit');
  const dit = { inChannels: 1, patchSize: 1, width: D, depth: 1, heads };
  const settings: SwinDiTSettings = { dit, grid: [side, side], window, windowHeads: [windowHeads] };
  const start = kind === 'dit' ? initDiT(rng.child('block'), dit) : initSwinDiT(rng.child('block'), settings);
  // The gates of the official start are 0. With them the block would not be computed.
  const block = treeMap(
    (leaf, path) => tf.tidy(() => tf.add(leaf, tf.mul(rng.child(path).normal(leaf.shape), 0.05))),
    start.blocks[0] as Tree,
  ) as SwinDiTBlockParams;
  const inputs = {
    x: rng.child('x').normal([images, T, D]),
    c: rng.child('c').normal([images, D]),
    gradient: rng.child('gradient').normal([images, T, D]),
  };
  const layer: PswaLayer = { grid: { h: side, w: side }, heads, windowHeads, window, shift: 0 };
  const forward = (params: SwinDiTBlockParams, x: Tensor, c: Tensor): Tensor => {
    const mix = kind === 'dit' ? (u: Tensor) => multiHeadSelfAttention(params.attn, u, heads) : pswa(params.attn, layer);
    return ditBlocks([params as DiTBlockParams], x, silu(c), (_, u) => mix(u));
  };
  const call = (params: SwinDiTBlockParams, { x, c, gradient }: Record<string, Tensor>): Tensor[] => {
    const { grads } = valueAndGrad(
      (at: { params: SwinDiTBlockParams; x: Tensor; c: Tensor }) => ({
        loss: tf.sum(tf.mul(forward(at.params, at.x, at.c), gradient!)),
        aux: {},
      }),
      { params, x: x!, c: c! },
    );
    const { params: own, x: dx, c: dc } = grads;
    // Sorted by name, so that the peer can use the same order.
    const named = Object.entries(flattenTree(own)).sort(([a], [b]) => (a < b ? -1 : 1));
    return [...named.map(([, gradient]) => gradient), dx, dc];
  };
  const macs = kind === 'dit' ? ditMacs(dit, { H: side, W: side }).block : swinDiTMacs(settings).blocks[0]!;
  const counted = (): number => compile(forward).multiplyAdds(block, inputs.x, inputs.c) / images;
  const peer = { kind, heads, ...(kind === 'pswa' && { window_heads: windowHeads, window }) };
  return { ...callWork(block, inputs, call, peer, 3 * 2 * images * macs), macs, counted };
}
