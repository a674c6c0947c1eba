/**
 * WebAssembly modules of functions that pass once over several arrays of float32, four elements at a time. The bytes are put together here,
 * as the WebAssembly specification describes them; no compiler is needed.
 */

/** One operator of a pass. Its operands are numbers of values: first the arrays, then the scalars, then the steps before this one. */
export interface Operation {
  op: keyof typeof LANES;
  operands: readonly number[];
}

/**
 * A pass over `arrays` arrays of equal length. For each element it does all steps, and then writes the value `results[k]` over the element
 * of array k.
 */
export interface Pass {
  arrays: number;
  scalars: number;
  steps: readonly Operation[];
  results: readonly number[];
}

/** Calls a pass: the address of each array in bytes, each scalar, and the length of an array in bytes (a multiple of 16). */
export type PassFunction = (...numbers: number[]) => void;

/** Codes of the instructions on four float32 numbers. IEEE 754 fixes their results to the last bit. */
export const LANES = { Neg: 0xe1, Sqrt: 0xe3, Add: 0xe4, Sub: 0xe5, Mul: 0xe6, Div: 0xe7 } as const;

const [I32, F32, V128] = [0x7f, 0x7d, 0x7b];
const PAGE = 2 ** 16;
/** The most bytes of one memory. */
export const MAX_BYTES = 2 ** 32 - PAGE;

/** An unsigned number in groups of seven bits. */
function unsigned(value: number): number[] {
  const bytes: number[] = [];
  for (; value >= 0x80; value = Math.floor(value / 0x80)) bytes.push((value % 0x80) + 0x80);
  return [...bytes, value];
}

const list = (items: readonly (readonly number[])[]): number[] => [...unsigned(items.length), ...items.flat()];
const text = (word: string): number[] => list([...new TextEncoder().encode(word)].map((byte) => [byte]));
const section = (id: number, content: readonly number[]): number[] => [id, ...unsigned(content.length), ...content];
const simd = (code: number): number[] => [0xfd, ...unsigned(code)];
const get = (local: number): number[] => [0x20, ...unsigned(local)];
const set = (local: number): number[] => [0x21, ...unsigned(local)];
/** Sixteen bytes, which may start at any address. */
const ANYWHERE = [0, 0];

const parametersOf = ({ arrays, scalars }: Pass): number[][] => [
  ...Array.from({ length: arrays }, () => [I32]),
  ...Array.from({ length: scalars }, () => [F32]),
  [I32],
];

/** The code of a pass. The length counts down, and the last elements come first. */
function bodyOf(pass: Pass): number[] {
  const { arrays, scalars, steps, results } = pass;
  const length = arrays + scalars;
  const first = length + 1;
  const value = (number: number): number[] => get(first + number);
  const address = (array: number): number[] => [...get(array), ...get(length), 0x6a];
  const spread = Array.from({ length: scalars }, (_, k) => [...get(arrays + k), ...simd(0x13), ...set(first + arrays + k)]);
  const loads = Array.from({ length: arrays }, (_, k) => [...address(k), ...simd(0x00), ...ANYWHERE, ...set(first + k)]);
  const work = steps.map(({ op, operands }, k) => [...operands.flatMap(value), ...simd(LANES[op]), ...set(first + length + k)]);
  const stores = results.map((number, k) => [...address(k), ...value(number), ...simd(0x0b), ...ANYWHERE]);
  // while (length != 0) { length -= 16; … }
  const loop = [
    ...[0x02, 0x40, 0x03, 0x40, ...get(length), 0x45, 0x0d, 1],
    ...[...get(length), 0x41, 16, 0x6b, ...set(length)],
    ...[...loads, ...work, ...stores].flat(),
    ...[0x0c, 0, 0x0b, 0x0b],
  ];
  const code = [...list([[...unsigned(length + steps.length), V128]]), ...spread.flat(), ...loop, 0x0b];
  return [...unsigned(code.length), ...code];
}

/** The module with the passes as functions `0`, `1` and so on. They work on the memory that the module imports. */
export function moduleOf(passes: readonly Pass[]): WebAssembly.Module {
  const bytes = [
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, list(passes.map((pass) => [0x60, ...list(parametersOf(pass)), 0]))),
    ...section(2, list([[...text('heap'), ...text('memory'), 2, 0, 0]])),
    ...section(3, list(passes.map((_, k) => unsigned(k)))),
    ...section(7, list(passes.map((_, k) => [...text(String(k)), 0, ...unsigned(k)]))),
    ...section(10, list(passes.map(bodyOf))),
  ];
  return new WebAssembly.Module(new Uint8Array(bytes));
}

/** Whether this JavaScript engine has instructions on four numbers. */
export function hasLanes(): boolean {
  try {
    moduleOf([{ arrays: 1, scalars: 0, steps: [{ op: 'Neg', operands: [0] }], results: [1] }]);
    return true;
  } catch {
    return false;
  }
}

/** A memory of its own that other threads cannot see, so ONNX Runtime can read and write it in place, and the passes on it. */
export function heapFor(module: WebAssembly.Module, bytes: number): { buffer: ArrayBuffer; pass: (number: number) => PassFunction } {
  const pages = Math.ceil(bytes / PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const { exports } = new WebAssembly.Instance(module, { heap: { memory } });
  return { buffer: memory.buffer, pass: (number) => exports[String(number)] as PassFunction };
}
