import type { TensorInfo } from './backend.ts';
import { bitsOf, SMALL_CONSTANT } from './bits.ts';
import { Entry } from './entry.ts';
import { sameShape, type Node } from './graph.ts';
import type { Kernel } from './kernel.ts';
import type { OnnxType } from './onnx.ts';
import type { Plan } from './plan.ts';

/** The steps of known paths (see `calls.ts`), and what makes two calls equal. */

export type Infos = TensorInfo | TensorInfo[];
export type Attributes = Readonly<Record<string, unknown>>;
export type Inputs = Readonly<Record<string, TensorInfo | null | undefined>>;

/** An operand of a step: a result (from 0) or a value from outside (from -1 downwards), in the shape of the tensor. */
export interface Operand {
  name: string;
  /** Null if the call has no such input. */
  from: { index: number; shape: readonly number[]; dtype: string } | null;
}

/** What a step knows of a value from outside that no earlier step uses. Values that a graph may depend on are part of it, bit by bit. */
export interface Outside {
  kind: 'leaf' | 'fill' | 'constant';
  shape: readonly number[];
  dtype: OnnxType;
  bits: string;
}

export interface Result {
  shape: number[];
  dtype: TensorInfo['dtype'];
}

/** One call of a kernel on a path, and what followed it. */
export interface Step {
  /** The call before, or null for the root. */
  parent: Step | null;
  name: string;
  kernel: Kernel;
  operands: readonly Operand[];
  outside: readonly Outside[];
  attributes: Attributes;
  results: readonly Result[];
  /** Whether the kernel returns a list. */
  isList: boolean;
  /** The bytes of the results that are pending, and the number of nodes in the graph after this call. */
  bytes: number;
  nodes: number;
  /** The step that followed last, which is likely to follow again. */
  next: Step | null;
  /** All steps that followed, by the names of their kernels. */
  after: Map<string, Step[]>;
  plans: Plan[];
}

export const rootStep = (): Step => ({
  parent: null,
  name: '',
  kernel: () => [],
  operands: [],
  outside: [],
  attributes: {},
  results: [],
  isList: false,
  bytes: 0,
  nodes: 0,
  next: null,
  after: new Map(),
  plans: [],
});

/** Number of steps on all paths that begin with a step. */
export function countOf(step: Step): number {
  let count = 0;
  const rest = [step];
  for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
    count++;
    for (const branches of next.after.values()) rest.push(...branches);
  }
  return count;
}

/** What the graph may depend on in a value from outside. Null for a value that is pending, failed, or a large constant. */
export function outsideOf(holder: Node | Entry): Outside | null {
  if (holder instanceof Entry) return holder.fill === null ? null : { kind: 'fill', ...holder.fill, bits: String(holder.fill.value) };
  const { op, shape, dtype, data } = holder;
  if (data === undefined) return null;
  if (op === 'Leaf') return { kind: 'leaf', shape, dtype, bits: '' };
  if (op !== 'Constant' || data.length > SMALL_CONSTANT) return null;
  return { kind: 'constant', shape, dtype, bits: bitsOf(data).join() };
}

export function isLike({ kind, shape, dtype, bits }: Outside, holder: Node | Entry): boolean {
  if (kind === 'leaf') return 'op' in holder && holder.op === 'Leaf' && holder.dtype === dtype && sameShape(holder.shape, shape);
  const other = outsideOf(holder);
  return other !== null && other.kind === kind && other.dtype === dtype && other.bits === bits && sameShape(other.shape, shape);
}

/** Whether two attributes are equal: numbers by their bits, lists and objects by their content. */
export function isEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a)) {
    if (!Array.isArray(b) || a.length !== b.length) return false;
    for (let i = 0; i < a.length; i++) if (!isEqual(a[i], b[i])) return false;
    return true;
  }
  if (Array.isArray(b)) return false;
  let count = 0;
  for (const name in b) {
    count++;
    if (!(name in a) || !isEqual((a as Attributes)[name], (b as Attributes)[name])) return false;
  }
  for (const _ in a) count--;
  return count === 0;
}

/** Whether an attribute consists of numbers, texts, and lists and objects of these. */
export function isPlain(value: unknown): boolean {
  if (value === null || ['undefined', 'number', 'string', 'boolean'].includes(typeof value)) return true;
  if (typeof value !== 'object') return false;
  const type = Object.getPrototypeOf(value) as unknown;
  return (type === Array.prototype || type === Object.prototype) && Object.values(value).every(isPlain);
}

/** A copy of a plain attribute, which its owner cannot change any more. */
export function copyOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copyOf);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, copyOf(one)]));
}

export const listOf = <T>(x: T | T[]): T[] => (Array.isArray(x) ? x : [x]);
