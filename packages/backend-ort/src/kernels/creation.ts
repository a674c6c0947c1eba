import type { KernelTable } from '../kernel.ts';
import { onnxType } from '../backend.ts';
import { emptyArray } from '../graph.ts';
import type { OnnxType } from '../onnx.ts';

/** Kernels that make tensors from attributes. */

/** A bool is 0 or 1. */
const stored = (value: number, dtype: OnnxType): number => (dtype === 'bool' ? Number(value !== 0) : value);

export const creation: KernelTable = {
  Fill: (k) => {
    const shape = k.attribute<number[]>('shape');
    const given = k.attribute<number | string>('value');
    if (typeof given === 'string') throw k.refuse('a number', 'a string');
    const dtype = onnxType(k.attribute<string | undefined>('dtype') ?? 'float32', 'Fill');
    const value = stored(given, dtype);
    // A value that may change from step to step is passed in at each run. Otherwise each value would need a new session.
    if (value === 0 || value === 1 || k.backend.isTracing) return k.graph.fill(value, shape, dtype);
    const data = emptyArray(dtype, 1);
    (data as Float32Array)[0] = value;
    return k.graph.expand(k.graph.leaf(data, [], dtype), shape);
  },
  ZerosLike: (k) => k.graph.fill(0, k.infos.x!.shape, onnxType(k.infos.x!.dtype, 'ZerosLike')),
  OnesLike: (k) => k.graph.fill(1, k.infos.x!.shape, onnxType(k.infos.x!.dtype, 'OnesLike')),
  Range: (k) => {
    const dtype = onnxType(k.attribute<string>('dtype') ?? 'float32', 'Range');
    const { start, stop, step } = {
      start: k.attribute<number>('start'),
      stop: k.attribute<number>('stop'),
      step: k.attribute<number>('step'),
    };
    const count =
      start === stop || (start < stop && step < 0) || (stop < start && step > 1) ? 0 : Math.abs(Math.ceil((stop - start) / step));
    const signed = stop < start && step === 1 ? -1 : step;
    const data = emptyArray(dtype, count) as Float32Array;
    for (let i = 0; i < count; i++) data[i] = stored(start + i * signed, dtype);
    return k.backend.isTracing ? k.graph.constant(data, [count], dtype) : k.graph.leaf(data, [count], dtype);
  },
  LinSpace: (k) => {
    const [start, stop, count] = [k.attribute<number>('start'), k.attribute<number>('stop'), k.attribute<number>('num')];
    const step = (stop - start) / (count - 1);
    const data = new Float32Array(count);
    for (let i = 0; i < count; i++) data[i] = i === 0 ? start : start + i * step;
    return k.backend.isTracing ? k.graph.constant(data, [count], 'float32') : k.graph.leaf(data, [count], 'float32');
  },
};
