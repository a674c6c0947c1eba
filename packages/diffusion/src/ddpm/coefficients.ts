import { perSample, type Tensor, tf } from '@atelier/tensor';

/** Coefficients by name, each with one number per step. */
export type Columns<Name extends string> = Readonly<Record<Name, Float64Array>>;
/** The coefficients as tensors that broadcast over samples [B, …]: [B, 1, …] if each sample has its own step, scalars if all are at the same step. */
export type Coefficients<Name extends string> = Record<Name, Tensor>;

/** Coefficients of the step k [B] int32 of each sample of `like` [B, …]. Inside a compiled function the table is a constant. */
export function gatherCoefficients<Name extends string>(columns: Columns<Name>, k: Tensor, like: Tensor): Coefficients<Name> {
  const names = Object.keys(columns) as Name[];
  const steps = columns[names[0]!].length;
  const table = Float32Array.from(
    { length: steps * names.length },
    (_, i) => columns[names[i % names.length]!][Math.floor(i / names.length)]!,
  );
  const rows = tf.gather(tf.tensor2d(table, [steps, names.length]), k); // [B] -> [B, names]
  const parts = tf.split(rows, names.length, 1);
  return record(
    names,
    parts.map((part) => perSample(part, like)),
  );
}

/** Coefficients of one step as scalars, to be fed to a compiled step. The caller owns them. */
export function coefficientsAt<Name extends string>(columns: Columns<Name>, step: number): Coefficients<Name> {
  const names = Object.keys(columns) as Name[];
  return record(
    names,
    names.map((name) => tf.scalar(columns[name][step]!)),
  );
}

const record = <Name extends string>(names: readonly Name[], tensors: readonly Tensor[]): Coefficients<Name> =>
  Object.fromEntries(names.map((name, i) => [name, tensors[i]!])) as Coefficients<Name>;
