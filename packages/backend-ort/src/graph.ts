import { bitsOf, hashOf, sameBits, SMALL_CONSTANT } from './bits.ts';
import { cutFrom, isFill, isNeutral, repeated } from './simplify.ts';
import { elementType, type Attribute, type HostArray, type OnnxType } from './onnx.ts';
import { floatSum, wholeFold } from './sums.ts';

/**
 * A pending operator, or a leaf with host data. One node has one result. If an operator has several results, each of them is an `Output`
 * node with an `index`.
 */
export interface Node {
  id: number;
  /**
   * An ONNX operator, or `Leaf` (data passed in at each run), `Constant` (data stored in the model), `Input` (argument of a compiled call),
   * `Output`.
   */
  op: string;
  domain: string;
  inputs: (Node | null)[];
  attributes: Readonly<Record<string, Attribute>>;
  shape: readonly number[];
  dtype: OnnxType;
  /** The data of a leaf or constant in host memory. */
  data?: HostArray;
  /** The graph that a `Scan` repeats. */
  body?: Body;
  /** Key for finding equal nodes. Leaves and inputs have none, because they are never equal to another node. */
  key?: string;
  /** True for a constant that says where to read. It is passed in at each run, so a loop over positions needs only one model. */
  place?: boolean;
  /** The first TensorFlow.js kernel that made this node, for error messages. */
  origin?: string;
  /** Why this node cannot be computed. The same is true of all nodes that depend on it. */
  failure?: Error;
  /** The number of data ids that use this node. */
  owners: number;
  /** True if something outside may use `data`, or a pending node reads it. Then no other result may use its memory. */
  shared: boolean;
  /** The last path that read this value from outside (see `calls.ts`), and the number of the value there. */
  epoch: number;
  slot: number;
}

/**
 * The part that a `Scan` repeats, as a separate graph. Inputs (placeholders): the values passed from one repetition to the next, one slice
 * of each sequence, then values from outside. Outputs: the values for the next repetition, then one slice of each result.
 */
export interface Body {
  inputs: readonly Node[];
  outputs: readonly Node[];
  /** Number of inputs before those that come from outside. */
  own: number;
  /** Number of repetitions. */
  length: number;
  /** Bodies with equal structure compute the same. */
  structure: string;
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
export const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((size, i) => size === b[i]);

/** The result shape of an element-wise operator. */
export function broadcastShape(a: readonly number[], b: readonly number[], op: string): number[] {
  const rank = Math.max(a.length, b.length);
  const out = new Array<number>(rank);
  for (let i = 1; i <= rank; i++) {
    const x = a[a.length - i] ?? 1;
    const y = b[b.length - i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) throw new Error(`ort ${op}: wanted shapes that broadcast, got [${a}] and [${b}]`);
    out[rank - i] = x === 1 ? y : x;
  }
  return out;
}

/** Whether a value will be computed, and is not an argument of a compiled call. */
export const isPending = ({ data, op, failure }: Node): boolean => data === undefined && op !== 'Input' && failure === undefined;

export function emptyArray(dtype: OnnxType, size: number): HostArray {
  if (dtype === 'float32') return new Float32Array(size);
  if (dtype === 'int32') return new Int32Array(size);
  if (dtype === 'bool') return new Uint8Array(size);
  // A float64 value cannot leave a graph, so only an empty one, which has no bytes, can be an array.
  if (dtype === 'float64' && size > 0) throw new Error('ort: float64 lives only inside a graph');
  return new BigInt64Array(size);
}

/**
 * Makes nodes. If an equal operator with the same inputs exists, its node is returned (hash consing), so a forward pass that is traced
 * twice is computed once. Operators that only cost time are left out: two reshapes in a row, × 1, + 0, or expanding a scalar that is
 * broadcast anyway.
 */
export class Graph {
  private nodes = new Map<string, Node>();
  private nextId = 0;
  /** The name of the running kernel. */
  origin = '';

  /** Number of nodes made since the last `forget`. */
  get size(): number {
    return this.nodes.size;
  }

  /** Empties the table of equal nodes. Nodes that are in use are not affected. */
  forget(): void {
    this.nodes.clear();
  }

  leaf(data: HostArray, shape: readonly number[], dtype: OnnxType): Node {
    // Spelled out, because every value that is read becomes a leaf.
    return { id: this.nextId++, op: 'Leaf', domain: '', inputs: NO_INPUTS, attributes: NO_ATTRIBUTES, shape, dtype, data, owners: 0, shared: false, epoch: 0, slot: 0 }; // prettier-ignore
  }

  input(shape: readonly number[], dtype: OnnxType): Node {
    return { id: this.nextId++, op: 'Input', domain: '', inputs: NO_INPUTS, attributes: NO_ATTRIBUTES, shape, dtype, ...fresh() };
  }

  constant(data: HostArray, shape: readonly number[], dtype: OnnxType, place = false): Node {
    const small = data.length <= SMALL_CONSTANT;
    const key = `${place ? 'Place' : 'Constant'}|${dtype}|${shape}|${small ? bitsOf(data).join() : hashOf(data)}`;
    const make = (): Omit<Node, MadeByIntern> => ({
      op: 'Constant',
      domain: '',
      inputs: NO_INPUTS,
      attributes: NO_ATTRIBUTES,
      shape,
      dtype,
      data,
      ...(place && { place }),
    });
    const node = this.intern(key, make);
    if (node.data === data || small || sameBits(node.data!, data)) return node;
    // Another large constant has the same hash but other values.
    return this.intern(`${key}|${this.nextId}`, make);
  }

  scalar(value: number, dtype: OnnxType = 'float32'): Node {
    const data = emptyArray(dtype, 1);
    if (data instanceof BigInt64Array) data[0] = BigInt(value);
    else data[0] = value;
    return this.constant(data, [], dtype);
  }

  int64(values: readonly number[]): Node {
    return this.constant(BigInt64Array.from(values.map(BigInt)), [values.length], 'int64');
  }

  /** Positions at which to read. They say nothing about shapes. */
  places(values: readonly number[]): Node {
    return this.constant(BigInt64Array.from(values.map(BigInt)), [values.length], 'int64', true);
  }

  /** A tensor that repeats one value. It is an expanded scalar constant, and element-wise operators read the scalar itself. */
  fill(value: number, shape: readonly number[], dtype: OnnxType = 'float32'): Node {
    return this.expand(this.scalar(value, dtype), shape);
  }

  add(
    op: string,
    inputs: (Node | null)[],
    attributes: Record<string, Attribute>,
    shape: readonly number[],
    dtype: OnnxType,
    domain = '',
    body?: Body,
  ): Node {
    if (shape.includes(0)) return this.constant(emptyArray(dtype, 0), shape, dtype);
    const key = `${op}|${inputs.map((x) => (x === null ? '' : x.id)).join()}|${Object.keys(attributes).length === 0 ? '' : JSON.stringify(attributes)}|${dtype}|${shape}${body === undefined ? '' : `|${body.structure}`}`;
    return this.intern(key, () => {
      for (const x of inputs) if (x !== null) x.shared = true;
      return { op, domain, inputs, attributes, shape, dtype, ...(body && { body }) };
    });
  }

  /** The same operator with other inputs. */
  again(node: Node, inputs: (Node | null)[]): Node {
    if (node.inputs.every((input, i) => input === inputs[i])) return node;
    if (node.op === 'Reshape') return this.reshape(inputs[0]!, node.shape);
    return this.add(node.op, inputs, { ...node.attributes }, node.shape, node.dtype, node.domain, node.body);
  }

  /** Adds an operator with several results. */
  addMany(
    op: string,
    inputs: Node[],
    attributes: Record<string, Attribute>,
    results: { shape: readonly number[]; dtype: OnnxType }[],
    body?: Body,
  ): Node[] {
    const parent = this.add(op, inputs, { ...attributes, results: results.length }, [], 'float32', '', body);
    return results.map(({ shape, dtype }, index) => this.add('Output', [parent], { index }, shape, dtype));
  }

  reshape(x: Node, shape: readonly number[]): Node {
    if (sameShape(x.shape, shape)) return x;
    if (sizeOf(x.shape) !== sizeOf(shape))
      throw new Error(`ort Reshape: wanted ${sizeOf(shape)} elements for [${shape}], got [${x.shape}]`);
    if (x.op === 'Reshape') return this.reshape(x.inputs[0]!, shape);
    if (isFill(x)) return this.refill(x, shape);
    if (x.op === 'Constant') return this.constant(x.data!, shape, x.dtype);
    return this.add('Reshape', [x, this.int64(shape)], {}, shape, x.dtype);
  }

  transpose(x: Node, perm: readonly number[]): Node {
    if (perm.every((axis, i) => axis === i)) return x;
    const shape = perm.map((axis) => x.shape[axis]!);
    if (isFill(x)) return this.refill(x, shape);
    if (x.op === 'Transpose') {
      const inner = x.attributes.perm as readonly number[];
      return this.transpose(
        x.inputs[0]!,
        perm.map((axis) => inner[axis]!),
      );
    }
    // Moving axes of size 1 does not change the order of the elements in memory. A reshape is enough.
    const moving = perm.filter((axis) => x.shape[axis] !== 1);
    if (moving.every((axis, i) => i === 0 || axis > moving[i - 1]!)) return this.reshape(x, shape);
    return this.add('Transpose', [x], { perm }, shape, x.dtype);
  }

  /** Broadcasts to a shape. */
  expand(x: Node, shape: readonly number[]): Node {
    if (sameShape(x.shape, shape)) return x;
    if (x.op === 'Expand') return this.expand(x.inputs[0]!, shape);
    return this.add('Expand', [x, this.int64(shape)], {}, shape, x.dtype);
  }

  /** A repeated value in another shape. A constant of shape [1, 1] cannot be expanded to fewer axes, so it becomes a scalar first. */
  private refill(x: Node, shape: readonly number[]): Node {
    return this.expand(this.reshape(x.inputs[0]!, []), shape);
  }

  cast(x: Node, dtype: OnnxType): Node {
    if (x.dtype === dtype) return x;
    const to = elementType[dtype];
    if (isFill(x)) return this.expand(this.cast(x.inputs[0]!, dtype), x.shape);
    return this.add('Cast', [x], { to }, x.shape, dtype);
  }

  /** A unary operator computed in float64 and rounded to float32. */
  inDouble(op: string, x: Node): Node {
    const wide = this.add('Cast', [x], { to: elementType.float64 }, x.shape, 'float64');
    return this.add('Cast', [this.add(op, [wide], {}, x.shape, 'float64')], { to: elementType.float32 }, x.shape, 'float32');
  }

  unary(op: string, x: Node, dtype: OnnxType = x.dtype, attributes: Record<string, Attribute> = {}, domain = ''): Node {
    return this.add(op, [x], attributes, x.shape, dtype, domain);
  }

  /** An element-wise operator with broadcasting. `dtype` is the type of the result. */
  binary(op: string, a: Node, b: Node, dtype: OnnxType = a.dtype, attributes: Record<string, Attribute> = {}): Node {
    const shape = broadcastShape(a.shape, b.shape, op);
    const x = unspread(a, b.shape, shape);
    const y = unspread(b, x.shape, shape);
    if (dtype === a.dtype && dtype === b.dtype) {
      if (isNeutral(op, repeated(b), dtype)) return this.expand(a, shape);
      if ((op === 'Mul' || op === 'Add') && isNeutral(op, repeated(a), dtype)) return this.expand(b, shape);
    }
    return this.add(op, [x, y], attributes, shape, dtype);
  }

  /** A reduction (ReduceSum, ReduceMean, …) over some axes. */
  reduce(op: string, x: Node, axes: readonly number[], keepDims: boolean, dtype: OnnxType = x.dtype): Node {
    const kept = x.shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
    const shape = keepDims ? kept : x.shape.filter((_, axis) => !axes.includes(axis));
    // For one element, these reductions return the element itself. A norm would return its absolute value, so it is not in the list.
    const plain = ['ReduceSum', 'ReduceMean', 'ReduceMax', 'ReduceMin', 'ReduceProd'].includes(op);
    if (plain && axes.every((axis) => x.shape[axis] === 1)) return this.reshape(this.cast(x, dtype), shape);
    const isSum = op === 'ReduceSum' || op === 'ReduceMean';
    if (isSum && x.dtype === 'float32') return floatSum(this, x, axes, shape, op === 'ReduceMean');
    if ((isSum || op === 'ReduceProd') && x.dtype === 'int32') return wholeFold(this, op, x, axes, shape);
    return this.add(op, [x, this.int64(axes)], { keepdims: keepDims ? 1 : 0 }, shape, dtype);
  }

  slice(x: Node, begin: readonly number[], size: readonly number[]): Node {
    const axes = x.shape.flatMap((full, axis) => (size[axis] === full ? [] : [axis]));
    if (axes.length === 0) return x;
    if (isFill(x)) return this.refill(x, size);
    const starts = this.places(axes.map((axis) => begin[axis]!));
    const ends = this.places(axes.map((axis) => begin[axis]! + size[axis]!));
    return this.add('Slice', [x, starts, ends, this.int64(axes)], {}, size, x.dtype);
  }

  concat(xs: readonly Node[], axis: number): Node {
    const full = xs.filter((x) => !x.shape.includes(0));
    if (full.length === 1) return full[0]!;
    const whole = full.length === 0 ? null : cutFrom(full, axis);
    if (whole !== null) return whole;
    const shape = [...xs[0]!.shape];
    shape[axis] = xs.reduce((sum, x) => sum + x.shape[axis]!, 0);
    return this.add('Concat', [...full], { axis }, shape, xs[0]!.dtype);
  }

  private intern(key: string, make: () => Omit<Node, MadeByIntern>): Node {
    const known = this.nodes.get(key);
    if (known !== undefined) return known;
    const node: Node = { ...make(), id: this.nextId++, key, origin: this.origin, ...fresh() };
    this.nodes.set(key, node);
    return node;
  }
}

type MadeByIntern = 'id' | 'key' | 'origin' | keyof ReturnType<typeof fresh>;

/** How each node begins: nobody uses it. */
const fresh = () => ({ owners: 0, shared: false, epoch: 0, slot: 0 });

/** The inputs and attributes of nodes that have none. */
export const NO_INPUTS: (Node | null)[] = [];
export const NO_ATTRIBUTES: Readonly<Record<string, Attribute>> = Object.freeze({});

/** The operand before it was expanded, if broadcasting with the other operand gives the same result shape. */
function unspread(x: Node, other: readonly number[], shape: readonly number[]): Node {
  if (x.op !== 'Expand') return x;
  const inner = x.inputs[0]!;
  return sameShape(broadcastShape(inner.shape, other, 'Expand'), shape) ? inner : x;
}
