import { windowStart, scalesOf, type MvarConfig } from '../src/index.ts';

/** Which token sees which, N × N ones and zeros, straight from the definition: for tests alone. */
export function visiblePairs(config: Pick<MvarConfig, 'ladder' | 'historyScales' | 'refineStep' | 'kernelSize'>): Int32Array {
  const scales = scalesOf(config.ladder);
  const N = scales.at(-1)!.offset + scales.at(-1)!.tokens;
  const out = new Int32Array(N * N);
  for (const { index: l, side, tokens, offset } of scales)
    for (let u = 0; u < tokens; u++)
      for (const other of scales.slice(Math.max(0, l + 1 - config.historyScales), l + 1))
        for (let w = 0; w < other.tokens; w++) {
          const inside = (a: number, b: number): boolean => {
            const start = windowStart(a, side, config.kernelSize);
            return b >= start && b < start + config.kernelSize;
          };
          const near = inside(Math.floor(u / side), Math.floor(w / side)) && inside(u % side, w % side);
          if (l < config.refineStep || near) out[(offset + u) * N + other.offset + w] = 1;
        }
  return out;
}
