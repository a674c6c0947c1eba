import { sameShape, type Graph, type Node } from './graph.ts';
import { topological } from './lower.ts';
import type { Attribute } from './onnx.ts';

/**
 * Rewrites of a compiled graph that save memory passes: a factor or a sum beside a matrix product becomes part of the product.
 * Only products that nothing else uses are touched, so nothing is computed twice.
 */

const PRODUCTS = new Set(['MatMul', 'FusedMatMul', 'Gemm']);
const flag = (node: Node, name: string): number => (node.attributes[name] as number | undefined) ?? 0;
const factor = (node: Node, name: string): number => (node.attributes[name] as { float: number } | undefined)?.float ?? 1;

/** The value of a constant of one element, or null. */
function scalarOf(x: Node): number | null {
  return x.op === 'Constant' && x.dtype === 'float32' && x.data!.length === 1 ? Number(x.data![0]) : null;
}

/** The same product with its result scaled by `by` as well. */
function scaled(g: Graph, product: Node, by: number): Node {
  const alpha = { float: factor(product, 'alpha') * by };
  if (product.op === 'Gemm') {
    const beta = { float: factor(product, 'beta') * by };
    return g.add('Gemm', product.inputs, { ...product.attributes, alpha, beta }, product.shape, 'float32');
  }
  const attributes = { transA: flag(product, 'transA'), transB: flag(product, 'transB'), alpha };
  return g.add('FusedMatMul', product.inputs, attributes, product.shape, 'float32', 'com.microsoft');
}

/** product + addend as one `Gemm`, if both are matrices and the addend broadcasts along rows only. */
function withAddend(g: Graph, product: Node, addend: Node): Node | null {
  if (product.op === 'Gemm' || product.shape.length !== 2) return null;
  if (product.inputs.some((x) => x!.shape.length !== 2)) return null;
  const [, columns] = product.shape as [number, number];
  const fits =
    sameShape(addend.shape, product.shape) || (addend.shape.at(-1) === columns && addend.shape.slice(0, -1).every((size) => size === 1));
  if (!fits || addend.shape.length > 2) return null;
  const attributes: Record<string, Attribute> = { transA: flag(product, 'transA'), transB: flag(product, 'transB') };
  if (factor(product, 'alpha') !== 1) attributes.alpha = { float: factor(product, 'alpha') };
  return g.add('Gemm', [...product.inputs, addend], attributes, product.shape, 'float32');
}

/** A value as a scalar times a node, where a scalar factor can be moved on into what reads it. */
interface Factored {
  bare: Node;
  by: number;
}

/** The rewritten form of `outputs`, in the same order. */
export function rewrite(g: Graph, outputs: readonly Node[]): Node[] {
  const order = topological(outputs);
  const uses = new Map<Node, number>();
  const use = (node: Node): unknown => uses.set(node, (uses.get(node) ?? 0) + 1);
  for (const node of order) for (const input of node.inputs) if (input !== null) use(input);
  for (const output of outputs) use(output);
  const renewed = new Map<Node, Node>();
  const factored = new Map<Node, Factored>();

  for (const node of order) {
    // Uses are counted on the old graph: a rewritten node stands for an old one and is used as often.
    const step = new Step(g, node, renewed, factored, (old) => uses.get(old) === 1);
    renewed.set(node, step.sum() ?? step.scale() ?? step.product() ?? step.reduction() ?? step.columnSums() ?? step.same());
    step.rememberFactor();
  }
  return outputs.map((output) => renewed.get(output)!);
}

/** One node on its way into the new graph. Each rule gives the node's new form, or null where it does not apply. */
class Step {
  private readonly g: Graph;
  private readonly node: Node;
  private readonly inputs: (Node | null)[];
  private readonly factored: Map<Node, Factored>;
  private readonly single: (old: Node) => boolean;
  private absorbed = false;

  constructor(g: Graph, node: Node, renewed: Map<Node, Node>, factored: Map<Node, Factored>, single: (old: Node) => boolean) {
    this.g = g;
    this.node = node;
    this.inputs = node.inputs.map((input) => (input === null ? null : renewed.get(input)!));
    this.factored = factored;
    this.single = single;
  }

  /** The node over its new inputs. */
  same(): Node {
    return this.g.again(this.node, this.inputs);
  }

  /** product + addend -> one Gemm. */
  sum(): Node | null {
    const { g, node, inputs } = this;
    if (node.op !== 'Add') return null;
    for (const [i, j] of pairs) {
      if (!this.isProduct(i) || !sameShape(inputs[i]!.shape, node.shape)) continue;
      const fused = withAddend(g, inputs[i]!, inputs[j]!);
      if (fused !== null) return fused;
    }
    return null;
  }

  /** product × scalar, also behind a reshape -> the product with that factor. */
  scale(): Node | null {
    const { g, node, inputs } = this;
    if (node.op === 'Neg' && this.isProduct(0)) return scaled(g, inputs[0]!, -1);
    if (node.op !== 'Mul') return null;
    for (const [i, j] of pairs) {
      const by = scalarOf(inputs[j]!);
      if (by === null || inputs[i]!.shape.length !== node.shape.length) continue;
      const [old, fresh] = [node.inputs[i]!, inputs[i]!];
      if (this.isProduct(i)) {
        this.absorbed = true;
        return scaled(g, fresh, by);
      }
      if (
        old.op === 'Reshape' &&
        fresh.op === 'Reshape' &&
        this.single(old) &&
        this.single(old.inputs[0]!) &&
        isProductNode(fresh.inputs[0]!)
      ) {
        this.absorbed = true;
        return g.reshape(scaled(g, fresh.inputs[0]!, by), node.shape);
      }
    }
    return null;
  }

  /** (scalar × a) b -> scalar × (a b) inside the product. */
  product(): Node | null {
    const { g, node, inputs, factored } = this;
    if (node.dtype !== 'float32' || (node.op !== 'MatMul' && node.op !== 'FusedMatMul')) return null;
    const [a, b] = [factored.get(node.inputs[0]!), factored.get(node.inputs[1]!)];
    if (a === undefined && b === undefined) return null;
    const alpha = { float: factor(node, 'alpha') * (a?.by ?? 1) * (b?.by ?? 1) };
    const attributes = { transA: flag(node, 'transA'), transB: flag(node, 'transB'), alpha };
    return g.add('FusedMatMul', [a?.bare ?? inputs[0]!, b?.bare ?? inputs[1]!], attributes, node.shape, 'float32', 'com.microsoft');
  }

  /** The sum of scalar × a -> scalar × the sum, which is smaller. */
  reduction(): Node | null {
    const { g, node, inputs, factored } = this;
    const inner = node.op === 'ReduceSum' ? factored.get(node.inputs[0]!) : undefined;
    if (inner === undefined) return null;
    const sum = g.add('ReduceSum', [inner.bare, inputs[1]!], { ...node.attributes }, node.shape, node.dtype);
    return g.binary('Mul', sum, g.scalar(inner.by));
  }

  /** Sums over the rows of a matrix -> a row of ones times it, which is the faster operator. */
  columnSums(): Node | null {
    const { g, node, inputs } = this;
    const x = inputs[0];
    if (node.op !== 'ReduceSum' || node.dtype !== 'float32' || x!.shape.length !== 2) return null;
    const axes = inputs[1]!.data as BigInt64Array;
    if (axes.length !== 1 || axes[0] !== 0n) return null;
    const [rows, columns] = x!.shape as [number, number];
    const ones = g.constant(new Float32Array(rows).fill(1), [1, rows], 'float32');
    return g.reshape(g.add('MatMul', [ones, x!], {}, [1, columns], 'float32'), node.shape);
  }

  /** Notes that this node is a scalar times another, for those who read it. */
  rememberFactor(): void {
    const { g, node, inputs, factored } = this;
    if (this.absorbed || node.dtype !== 'float32') return;
    if (node.op === 'Reshape') {
      const inner = factored.get(node.inputs[0]!);
      if (inner !== undefined) factored.set(node, { bare: g.reshape(inner.bare, node.shape), by: inner.by });
    }
    if (node.op !== 'Mul') return;
    for (const [i, j] of pairs) {
      const by = scalarOf(inputs[j]!);
      if (by !== null && sameShape(inputs[i]!.shape, node.shape)) factored.set(node, { bare: inputs[i]!, by });
    }
  }

  private isProduct(i: number): boolean {
    return isProductNode(this.inputs[i]!) && this.single(this.node.inputs[i]!);
  }
}

const pairs = [
  [0, 1],
  [1, 0],
] as const;
const isProductNode = (x: Node): boolean => PRODUCTS.has(x.op) && x.dtype === 'float32';
