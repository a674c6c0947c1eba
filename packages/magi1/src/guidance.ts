import { parseConfig, tf, type Tensor } from '@atelier/tensor';
import { z } from 'zod';

/** A time counts as having reached an edge if it is at most this much below it. In float32, φ(3/4) is a little above 0.3; in float64 it is not. */
export const EDGE = 1e-7;

const numbers = z.array(z.number());

/** Scales of guidance by the time t of a chunk. `previous[i]` and `text[i]` hold from `edges[i]` up to the next edge. */
export const guidanceConfig = z
  .strictObject({
    /** Rising times, the first at most 0. */
    edges: numbers.min(1).default([0, 0.0217, 0.1, 0.3, 0.999]),
    /** w_prev, guidance by earlier chunks: 1 is no guidance. */
    previous: numbers.default([1.5, 1.5, 1.5, 1, 1]),
    /** w_text, guidance by the text: 1 is no guidance, 0 ignores the text. */
    text: numbers.default([7.5, 7.5, 7.5, 0, 0]),
  })
  .superRefine((c, context) => {
    const fault = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    if (c.edges[0]! > 0 || c.edges.some((edge, i) => i > 0 && edge <= c.edges[i - 1]!))
      fault('edges', `wanted rising times from at most 0 on, got [${c.edges.join(', ')}]`);
    for (const name of ['previous', 'text'] as const)
      if (c[name].length !== c.edges.length) fault(name, `wanted ${c.edges.length} scales, one for each edge, got ${c[name].length}`);
  });
export type Guidance = z.output<typeof guidanceConfig>;
export type GuidanceSettings = z.input<typeof guidanceConfig>;

/** Guidance with the same scales at all times. */
export const constantGuidance = (previous: number, text: number): GuidanceSettings => ({ edges: [0], previous: [previous], text: [text] });

/** The scales for a chunk at time t. A time on an edge has the scales of that edge. */
export function guidanceScales(t: number, settings: GuidanceSettings = {}): { previous: number; text: number } {
  const { edges, previous, text } = parseConfig(guidanceConfig, settings, 'guidanceScales');
  const bin = edges.filter((edge) => edge - EDGE < t).length - 1;
  return { previous: previous[Math.max(0, bin)]!, text: text[Math.max(0, bin)]! };
}

/** The three velocities of guidance, each [B, M, …] for M chunks. */
export type GuidanceBranches = {
  /** v_full: with its text, sees earlier chunks. */
  full: Tensor;
  /** v_prev: no text, sees earlier chunks. */
  previous: Tensor;
  /** v_0: no text, sees only itself. */
  alone: Tensor;
};

/** The factors of v_0, v_prev and v_full in Eq. 9 for the scales w_prev and w_text. Their sum is 1. */
export const guidanceFactors = ({
  previous,
  text,
}: {
  previous: number;
  text: number;
}): [alone: number, previous: number, full: number] => [1 - previous, previous - text, text];

/**
 * (1 - w_prev)·v_0 + (w_prev - w_text)·v_prev + w_text·v_full (Eq. 9, arXiv 2505.13211).
 *
 * @param factors [3, M] float32: a column for each chunk, with the three numbers of `guidanceFactors`
 */
export function guidedVelocity({ full, previous, alone }: GuidanceBranches, factors: Tensor): Tensor {
  const M = full.shape[1]!;
  const rows = tf.split(factors, 3, 0).map((row) => tf.reshape(row, [1, M, ...full.shape.slice(2).map(() => 1)]));
  return [alone, previous, full].map((v, i) => tf.mul(rows[i]!, v)).reduce((a, b) => tf.add(a, b));
}
