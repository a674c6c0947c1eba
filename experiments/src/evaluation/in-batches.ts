import { toHost, toTensor, tf, type HostTensor, type Tensor } from '@atelier/tensor';

/** Tensors on the host with first axes of equal length: row i of each belongs to item i. */
export type Rows = { readonly [name: string]: HostTensor | undefined };

/** float32 rows, each of the given shape. */
export const floats = (data: Float32Array, ...rowShape: readonly number[]): HostTensor => ({
  dtype: 'float32',
  shape: [data.length / rowShape.reduce((a, b) => a * b, 1), ...rowShape],
  data,
});

/** int32 labels, one per row. */
export const labels = (data: Int32Array): HostTensor => ({ dtype: 'int32', shape: [data.length], data });

/**
 * Applies a (compiled) function to many rows, `batch` at a time.
 *
 * @param run gets the tensors of some rows (it may donate them) and the index of the first row; each of its results must have as many rows
 * @returns all rows of the results, on the host
 */
export async function inBatches<In extends Rows, Out extends { [name: string]: Tensor }>(
  rows: In,
  { batch, signal }: { batch: number; signal?: AbortSignal | undefined },
  run: (inputs: { [Name in keyof In]: Tensor }, from: number) => Out,
): Promise<{ [Name in keyof Out]: HostTensor }> {
  const given = Object.entries(rows).filter((entry): entry is [string, HostTensor] => entry[1] !== undefined);
  const total = given[0]![1].shape[0]!;
  const found: Record<string, HostTensor> = {};
  for (let from = 0; from < total; from += batch) {
    signal?.throwIfAborted();
    const to = Math.min(total, from + batch);
    const inputs = Object.fromEntries(given.map(([name, host]) => [name, toTensor(cut(host, from, to))]));
    const results = run(inputs as { [Name in keyof In]: Tensor }, from);
    for (const [name, tensor] of Object.entries(results)) {
      const part = await toHost(tensor);
      found[name] ??= allRows(part, total);
      found[name].data.set(part.data, (from * part.data.length) / (to - from));
    }
    tf.dispose([inputs, results]);
  }
  return found as { [Name in keyof Out]: HostTensor };
}

function cut({ dtype, shape, data }: HostTensor, from: number, to: number): HostTensor {
  const size = data.length / shape[0]!;
  return { dtype, shape: [to - from, ...shape.slice(1)], data: data.subarray(from * size, to * size) };
}

/** An array for `total` rows like those of `part`. */
function allRows({ dtype, shape, data }: HostTensor, total: number): HostTensor {
  const length = (data.length / shape[0]!) * total;
  const room = { float32: () => new Float32Array(length), int32: () => new Int32Array(length), bool: () => new Uint8Array(length) };
  return { dtype, shape: [total, ...shape.slice(1)], data: room[dtype]() };
}
