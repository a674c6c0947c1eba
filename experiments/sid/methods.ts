import type { Curve } from '../src/runner/experiment.ts';

/** The colours in the charts of each part: the names of its students, in order. */
const parts: Readonly<Record<string, readonly string[]>> = {
  ring8: ['sid-1', 'sid-2', 'sid-4', 'alpha-05', 'alpha-12', 'dmd-1', 'dmd-4', 'alpha-2', 'teacher'],
  check: ['sid-1', 'sid-2', 'sid-4', 'teacher'],
  guidance: ['none', 'lsg-2', 'lsg-4.5', 'long-4.5', 'zero', 'anti', 'zero-gan', 'none-gan', 'teacher', 'data'],
  image: ['none', 'lsg', 'zero', 'anti', 'none-gan', 'zero-gan', 'anti-gan', 'teacher', 'data'],
};

/** The colour of a network in the charts of a part (`ring8`, `guidance`, `image`); students of images have one colour for all numbers of steps. */
export function colorOf(part: string, name: string): number {
  const names = parts[part] ?? [];
  const place = names.indexOf(part === 'image' ? name.replace(/-\d+$/, '') : name);
  return place < 0 ? names.length : place;
}

/** Students share the axes of a loss only where the loss is the same: other settings (α, guidance, an adversarial term) are another loss. */
export function curve(series: string): Curve | undefined {
  const [, part, rest] = /^(ring8|check|guidance|image)-(.+?)(?:-score)?$/.exec(series) ?? [];
  if (part === undefined || rest === undefined) return undefined;
  const known = parts[part]!;
  const name = known.find((one) => rest === one || new RegExp(`^${one.replace('.', '\\.')}-\\d+$`).test(rest)) ?? rest;
  const method = part === 'image' ? rest : name;
  const loss = name === 'teacher' ? 'loss of the teacher' : `loss of the generator, ${/^sid-/.test(name) ? 'α = 1' : name}`;
  return { method, color: colorOf(part, name), group: part, loss };
}
