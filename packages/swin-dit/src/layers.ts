import { allocateHeads } from './head-allocation.ts';
import type { SwinDiTConfig } from './config.ts';
import type { PswaLayer } from './pswa.ts';
import { windowSide } from './window.ts';

/** How a layer mixes its tokens, computed from the settings. */
export type SwinDiTLayer = { kind: 'global' } | (PswaLayer & { kind: 'window' | 'shifted' | 'pswa'; kernel: number });

/** Default shares of window heads. */
const RAMP = { rho0: 1 / 4, rho1: 3 / 4 };

/** The layers of a network, first layer first. @throws Error if the windows do not divide the grid; it lists the sides that would fit */
export function swinDiTLayers(config: SwinDiTConfig): SwinDiTLayer[] {
  const { dit, attention, grid: sides, pcca = RAMP } = config;
  const kinds = Array.isArray(attention) ? attention : Array.from({ length: dit.depth }, () => attention);
  const grid = { h: sides[0], w: sides[1] };
  const { heads } = dit;
  const window = kinds.every((kind) => kind === 'global') ? 0 : windowSide(grid, config.window, 'swinDiTLayers');
  const kernel = config.kernel ?? bridgeKernel(window);
  // If one window covers the smaller side of the grid, there is no neighbour to shift into (as in Swin).
  const shift = Math.min(grid.h, grid.w) <= config.window ? 0 : Math.floor(window / 2);
  const pseudo = kinds.filter((kind) => kind === 'pswa').length;
  const allocated = pseudo === 0 ? [] : (config.windowHeads ?? allocateHeads(pseudo, heads, pcca));
  let next = 0;
  return kinds.map((kind): SwinDiTLayer => {
    if (kind === 'global') return { kind };
    const windowHeads = kind === 'pswa' ? allocated[next++]! : heads;
    return { kind, grid, heads, windowHeads, window, kernel, shift: kind === 'shifted' ? shift : 0 };
  });
}

/**
 * Side of the bridge's kernel for windows of side M: max(3, 2⌊M/4⌋ + 1). It reaches ⌊M/4⌋ tokens, so three quarters of the tokens of a window see a
 * neighbouring window. Two layers reach M/2 tokens, as far as Swin's shift.
 */
export const bridgeKernel = (M: number): number => Math.max(3, 2 * Math.floor(M / 4) + 1);
