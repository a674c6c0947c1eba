import { checkNumber } from '@atelier/tensor';
import { diffusionTables, type DiffusionTables } from './tables.ts';

/**
 * A process that keeps only some steps τ₀ < τ₁ < … of another one: β'_k = 1 - ᾱ_{τ_k}/ᾱ_{τ_{k-1}}. All tables are computed again from these β', and the network
 * gets the time τ_k (facebookresearch/DiT diffusion/respace.py:65).
 *
 * @param respacing see `keptSteps`
 */
export function respace(tables: DiffusionTables, respacing: number | string): DiffusionTables {
  const kept = keptSteps(tables.steps, respacing);
  const betas = kept.map((tau, k) => 1 - tables.alphaBar[tau]! / (k === 0 ? 1 : tables.alphaBar[kept[k - 1]!]!));
  return diffusionTables(
    betas,
    kept.map((tau) => tables.timesteps[tau]!),
  );
}

/**
 * Which of `steps` steps are kept, ascending (facebookresearch/DiT diffusion/respace.py:12). `250` or `'250'` keeps that many steps, evenly spaced, with the
 * first and the last step among them. `'10,15,20'` does this in each of three equal sections. `'ddim25'` keeps every i-th step from 0 on, with the integer i
 * that gives 25 steps. `''` keeps all.
 *
 * Positions are accumulated and rounded half to even, as Python rounds.
 * @throws Error if more steps are asked for than there are, or if no stride i gives the number asked for
 */
export function keptSteps(steps: number, respacing: number | string): number[] {
  checkNumber('keptSteps: steps', steps, { integer: true, min: 1 });
  const text = typeof respacing === 'number' ? String(respacing) : respacing;
  if (text === '') return Array.from({ length: steps }, (_, k) => k);
  const strided = /^ddim(\d+)$/.exec(text);
  if (strided !== null) return everyIth(steps, Number(strided[1]));
  if (typeof text !== 'string' || !/^\s*\d+\s*(,\s*\d+\s*)*$/.test(text))
    throw new Error(`keptSteps: respacing: wanted a number of steps, 'n,n,…' for equal sections, 'ddimN' or '', got '${String(text)}'`);
  const counts = text.split(',').map(Number);
  const [size, longer] = [Math.floor(steps / counts.length), steps % counts.length];
  let start = 0;
  return counts.flatMap((count, section) => {
    const length = size + (section < longer ? 1 : 0);
    if (count < 1 || count > length)
      throw new Error(`keptSteps: respacing: wanted 1 to ${length} steps in section ${section} of '${text}', got ${count}`);
    const kept = spread(length, count).map((position) => start + position);
    start += length;
    return kept;
  });
}

function everyIth(steps: number, count: number): number[] {
  for (let stride = 1; stride <= steps; stride++) {
    if (Math.ceil(steps / stride) === count) return Array.from({ length: count }, (_, k) => k * stride);
  }
  throw new Error(`keptSteps: respacing: wanted 'ddimN' where a whole stride gives N of ${steps} steps, got 'ddim${count}'`);
}

function spread(length: number, count: number): number[] {
  const stride = count === 1 ? 1 : (length - 1) / (count - 1);
  let position = 0;
  return Array.from({ length: count }, () => {
    const rounded = roundHalfEven(position);
    position += stride;
    return rounded;
  });
}

function roundHalfEven(x: number): number {
  const below = Math.floor(x);
  if (x - below !== 0.5) return Math.round(x);
  return below % 2 === 0 ? below : below + 1;
}
