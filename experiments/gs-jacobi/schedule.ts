import type { BlockReport } from '@atelier/gs-jacobi';
import type { Picture } from '../src/runner/experiment.ts';
import { drawSvg, round, style, svgDocument, text } from '../src/pictures/style.ts';

export type Scheduled = { readonly name: string; readonly note: string; readonly blocks: readonly BlockReport[] };

const [WIDTH, STRIP, HEAD, GAP, LEFT] = [760, 84, 22, 16, 46];

/**
 * Shows which tokens are evaluated when. Each strategy is a strip: evaluations run from left to right on a common scale, tokens from top to bottom in the
 * order of the block. A box is one segment with all its iterations.
 */
export function scheduleChart(strategies: readonly Scheduled[], { T, title }: { T: number; title: string }): Picture {
  const { margin } = style;
  const depths = strategies.map(({ blocks }) => blocks.reduce((sum, { depth }) => sum + depth, 0));
  const unit = WIDTH / Math.max(...depths);
  const top = margin + 44;
  const parts = [
    text(margin, margin + 12, title, { size: style.title, bold: true }),
    text(margin, margin + 32, 'evaluations one after the other →, tokens downwards; one colour a block, the last block first', {
      size: style.small,
      fill: style.soft,
    }),
  ];
  strategies.forEach(({ name, note, blocks }, i) => {
    const y = top + i * (HEAD + STRIP + GAP);
    parts.push(
      text(margin + LEFT, y + 14, name, { bold: true }),
      text(margin + LEFT + WIDTH, y + 14, note, { size: style.small, anchor: 'end', fill: style.soft }),
    );
    parts.push(text(margin + LEFT - 8, y + HEAD + 10, '0', { size: style.small, anchor: 'end', fill: style.soft }));
    parts.push(text(margin + LEFT - 8, y + HEAD + STRIP, String(T - 1), { size: style.small, anchor: 'end', fill: style.soft }));
    parts.push(`<rect x="${margin + LEFT}" y="${y + HEAD}" width="${WIDTH}" height="${STRIP}" fill="${style.faint}"/>`);
    let start = 0;
    blocks.forEach((block, b) => {
      const fill = style.series[b % style.series.length]!;
      for (const { from, to, first, end } of boxesOf(block, T)) {
        const [x, w] = [margin + LEFT + (start + from) * unit, Math.max(0.6, (to - from) * unit - 0.4)];
        const [v, h] = [y + HEAD + (first / T) * STRIP, Math.max(0.6, ((end - first) / T) * STRIP)];
        parts.push(`<rect x="${round(x)}" y="${round(v)}" width="${round(w)}" height="${round(h)}" fill="${fill}"/>`);
      }
      start += block.depth;
    });
  });
  const width = 2 * margin + LEFT + WIDTH;
  const height = top + strategies.length * (HEAD + STRIP + GAP) + margin / 2;
  return drawSvg(svgDocument(width, height, parts.join('')), width, height);
}

type Box = { from: number; to: number; first: number; end: number };

/** The evaluations of a block as boxes: from … to of its evaluations, tokens first … end - 1. */
function boxesOf({ plan, segments, exact }: BlockReport, T: number): Box[] {
  if (exact !== undefined)
    return exact.evaluations.map(({ known, size }, i) => ({ from: i, to: i + 1, first: known, end: Math.min(T, known + size) }));
  if (segments !== undefined) {
    let at = 0;
    return segments.map(({ first, size, iterations, renewals, single }) => {
      const from = at;
      at += iterations + renewals + single;
      return { from, to: at, first, end: first + size };
    });
  }
  if (plan.method !== 'sequential')
    throw new Error(`scheduleChart: wanted a report with segments or evaluations for '${plan.method}', got neither`);
  // Token by token; more than some hundred steps are drawn as that many steps.
  const steps = Math.min(T - 1, 256);
  return Array.from({ length: steps }, (_, i) => ({
    from: (i * (T - 1)) / steps,
    to: ((i + 1) * (T - 1)) / steps,
    first: (i * (T - 1)) / steps,
    end: ((i + 1) * (T - 1)) / steps,
  }));
}
