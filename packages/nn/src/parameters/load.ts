import { isTensor, nearest, tf, toTensor, unflattenTree, type HostTensor, type Tensor, type Tree } from '@atelier/tensor';
import type { ParameterTable } from './init.ts';

/** Tensors of a checkpoint by name, as `readSafetensors` gives them. float16, bfloat16 and float64 files were widened or rounded to float32 by then. */
export type StateDict = Readonly<Record<string, HostTensor>>;

/** How a parameter lies in a checkpoint: as here, or as in Flax, where linear kernels are [in, out] and convolution kernels [h, w, in, out]. */
export type Layout = 'same' | 'flax-linear' | 'flax-convolution';

/** Axes of the checkpoint's tensor in our order, [out, in] and [out, in, h, w]. */
export const LAYOUT_AXES = { 'flax-linear': [1, 0], 'flax-convolution': [3, 2, 0, 1] } as const;

export type LoadOptions = {
  /** Name in the checkpoint of a parameter, or several names, whose tensors are put below each other along the first axis; its own if absent. */
  rename?: (name: string) => string | readonly string[];
  /** How a parameter lies in the checkpoint; `same` if absent. */
  layout?: (name: string) => Layout;
  /** Which other names of the checkpoint are passed over. */
  ignore?: RegExp;
};

/** One tensor that a parameter is read from, and the shape that it must have. */
type Source = { name: string; shape: readonly number[] };

/**
 * The parameters of a table from the tensors of a checkpoint, which must hold just these. New tensors, which the caller owns.
 *
 * @param where what the error begins with
 * @throws Error with one sentence that names every tensor that is missing, not known, or of another type or shape; where names are both missing
 *   and not known, as in the checkpoint of another model, the nearest names too
 */
export function loadParameters(
  table: ParameterTable,
  tensors: Readonly<Record<string, HostTensor | Tensor>>,
  { rename = (name) => name, layout = () => 'same', ignore }: LoadOptions,
  where: string,
): Tree {
  const plan = Object.entries(table).map(([name, { shape }]) => ({ name, sources: sourcesOf(shape, [rename(name)].flat(), layout(name)) }));
  checkSources(
    plan.flatMap(({ sources }) => sources),
    tensors,
    ignore,
    where,
  );
  // Nothing can fail any more, so no tensor is left behind.
  const read = ({ sources, name }: (typeof plan)[number]): Tensor =>
    tf.tidy(() => {
      const parts = sources.map((source) => {
        const found = tensors[source.name]!;
        return isTensor(found) ? found.clone() : toTensor(found);
      });
      const whole = parts.length === 1 ? parts[0]! : tf.concat(parts, 0);
      const lies = layout(name);
      return lies === 'same' ? whole : tf.transpose(whole, [...LAYOUT_AXES[lies]]);
    });
  return unflattenTree(Object.fromEntries(plan.map((entry) => [entry.name, read(entry)])));
}

function sourcesOf(shape: readonly number[], names: readonly string[], lies: Layout): Source[] {
  const stored = lies === 'same' ? [...shape] : shape.map((_, axis) => shape[LAYOUT_AXES[lies].indexOf(axis as never)]!);
  const [rows, ...rest] = stored;
  return names.map((name) => ({ name, shape: names.length === 1 ? stored : [rows! / names.length, ...rest] }));
}

function checkSources(
  wanted: readonly Source[],
  tensors: Readonly<Record<string, HostTensor | Tensor>>,
  ignore: RegExp | undefined,
  where: string,
): void {
  const known = new Set(wanted.map(({ name }) => name));
  const missing = wanted.flatMap(({ name }) => (Object.hasOwn(tensors, name) ? [] : [name]));
  const unknown = Object.keys(tensors).filter((name) => !known.has(name) && ignore?.test(name) !== true);
  const misshapen = wanted.flatMap(({ name, shape }) => {
    const found = Object.hasOwn(tensors, name) ? tensors[name]! : null;
    if (found === null || (found.dtype === 'float32' && found.shape.join() === shape.join())) return [];
    return [`${name} (wanted float32 [${shape.join(', ')}], got ${found.dtype} [${found.shape.join(', ')}])`];
  });
  const complaints = [
    missing.length > 0 ? `missing ${missing.join(', ')}` : '',
    unknown.length > 0 ? `not of this model ${unknown.join(', ')}` : '',
    misshapen.length > 0 ? `misshapen ${misshapen.join(', ')}` : '',
    missing.length > 0 && unknown.length > 0 ? `nearest names: ${nearestPairs(unknown, missing)}` : '',
  ].filter((text) => text !== '');
  if (complaints.length > 0) throw new Error(`${where}: wanted the tensors of the model, got a state dict with ${complaints.join('; ')}`);
}

/** For the first few unknown names the missing name that each may stand for. */
function nearestPairs(unknown: readonly string[], missing: readonly string[]): string {
  return unknown
    .slice(0, 3)
    .map((name) => `'${name}' is nearest to '${nearest(name, missing)!}'`)
    .join(', ');
}
