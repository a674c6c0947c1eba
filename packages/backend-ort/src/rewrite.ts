import { shareGates } from './gelu.ts';
import { sameShape, sizeOf, type Graph, type Node } from './graph.ts';
import { topological } from './lower.ts';
import type { Attribute } from './onnx.ts';

/**
 * Rewrites a compiled graph, so that a factor or a sum beside a matrix product becomes part of the product. This saves passes over memory.
 * A product is changed only if nothing else uses it, so nothing is computed twice.
 */

const PRODUCTS = new Set(['MatMul', 'FusedMatMul', 'Gemm']);
const flag = (node: Node, name: string): number => (node.attributes[name] as number | undefined) ?? 0;
const factor = (node: Node, name: string): number => (node.attributes[name] as { float: number } | undefined)?.float ?? 1;

/** The value of a constant with one element, or null. */
function scalarOf(x: Node): number | null {
  return x.op === 'Constant' && x.dtype === 'float32' && x.data!.length === 1 ? Number(x.data![0]) : null;
}

/**
 * Whether a factor may be moved from one side of a product or a sum to the other. Moving it makes the terms of the sum larger or smaller by
 * this factor. If the factor is very large, a term could overflow; if it is very small, a term could become 0. For example, (1e-30 x) y
 * differs from 1e-30 (x y) if x y is too large for float32. So only factors from 2^-20 to 2^20 are moved, like the scale of attention or
 * the mean over a batch. They change a result only if a term is within a factor of 2^20 of the limits of float32 (1.8e-38 … 3.4e38). The
 * factors 0, NaN and ±∞ are not moved.
 */
const MODERATE = 2 ** 20;
const moves = (by: number): boolean => Math.abs(by) <= MODERATE && Math.abs(by) >= 1 / MODERATE;

/** The product with its result multiplied by `by`, or null if this factor may not be moved. */
function scaled(g: Graph, product: Node, by: number): Node | null {
  const alpha = { float: factor(product, 'alpha') * by };
  if (!moves(by) || !moves(alpha.float) || !moves(factor(product, 'beta') * by)) return null;
  if (product.op === 'Gemm') {
    const [a, b, addend] = product.inputs as [Node, Node, Node];
    // If beta is not 1, ONNX Runtime goes through the whole result once more. Scaling a row instead costs almost nothing.
    if (sizeOf(addend.shape) < sizeOf(product.shape))
      return g.add('Gemm', [a, b, g.binary('Mul', addend, g.scalar(by))], { ...product.attributes, alpha }, product.shape, 'float32');
    const beta = { float: factor(product, 'beta') * by };
    return g.add('Gemm', product.inputs, { ...product.attributes, alpha, beta }, product.shape, 'float32');
  }
  const attributes = { transA: flag(product, 'transA'), transB: flag(product, 'transB'), alpha };
  return g.add('FusedMatMul', product.inputs, attributes, product.shape, 'float32', 'com.microsoft');
}

/** product + addend as one `Gemm`. Null unless both are matrices, and the addend has the shape of the product or is one row. */
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

/** A value written as by · bare. The factor `by` can be moved into the node that reads the value. */
interface Factored {
  bare: Node;
  by: number;
}

/** The rewritten form of the traced outputs, in the same order. */
export function rewrite(g: Graph, traced: readonly Node[]): Node[] {
  const outputs = shareGates(g, traced);
  const order = topological(outputs);
  const uses = new Map<Node, number>();
  const use = (node: Node): unknown => uses.set(node, (uses.get(node) ?? 0) + 1);
  for (const node of order) for (const input of node.inputs) if (input !== null) use(input);
  for (const output of outputs) use(output);
  const renewed = new Map<Node, Node>();
  const factored = new Map<Node, Factored>();

  for (const node of order) {
    // Uses are counted in the old graph. A rewritten node replaces an old one and is used equally often.
    const step = new Step(g, node, renewed, factored, uses);
    renewed.set(node, step.sum() ?? step.scale() ?? step.product() ?? step.reduction() ?? step.turn() ?? step.same());
    step.rememberFactor();
  }
  return outputs.map((output) => renewed.get(output)!);
}

/** Rewrites one node. Each rule returns the new form of the node, or null if the rule does not apply. */
class Step {
  private readonly g: Graph;
  private readonly node: Node;
  private readonly inputs: (Node | null)[];
  private readonly factored: Map<Node, Factored>;
  private readonly uses: ReadonlyMap<Node, number>;
  private absorbed = false;

  constructor(g: Graph, node: Node, renewed: Map<Node, Node>, factored: Map<Node, Factored>, uses: Map<Node, number>) {
    this.g = g;
    this.node = node;
    this.inputs = node.inputs.map((input) => (input === null ? null : renewed.get(input)!));
    this.factored = factored;
    this.uses = uses;
  }

  /** The node with its new inputs. */
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
    return this.rowSum();
  }

  /** A product behind a reshape that keeps its columns, + a row -> one Gemm behind the reshape. */
  private rowSum(): Node | null {
    const { g, node, inputs } = this;
    for (const [i, j] of pairs) {
      const [product, row] = [this.reshapedProduct(i), inputs[j]!];
      const columns = node.shape.at(-1)!;
      if (product === null || product.shape.at(-1) !== columns || !sameShape(inputs[i]!.shape, node.shape)) continue;
      if (row.shape.at(-1) !== columns || sizeOf(row.shape) !== columns) continue;
      const fused = withAddend(g, product, g.reshape(row, [columns]));
      if (fused !== null) return g.reshape(fused, node.shape);
    }
    return null;
  }

  /** A transposition that keeps some axes side by side -> one of fewer axes, for which ONNX Runtime has faster loops. */
  turn(): Node | null {
    const { g, node, inputs } = this;
    if (node.op !== 'Transpose') return null;
    const perm = node.attributes.perm as readonly number[];
    const x = inputs[0]!;
    // Runs of axes that stay side by side, in the order of the result.
    const runs: number[][] = [];
    for (const axis of perm) {
      if (runs.at(-1)?.at(-1) === axis - 1) runs.at(-1)!.push(axis);
      else runs.push([axis]);
    }
    if (runs.length === perm.length) return null;
    const sorted = [...runs].sort((a, b) => a[0]! - b[0]!);
    const joined = g.reshape(
      x,
      sorted.map((run) => run.reduce((size, axis) => size * x.shape[axis]!, 1)),
    );
    return g.reshape(
      g.transpose(
        joined,
        runs.map((run) => sorted.indexOf(run)),
      ),
      node.shape,
    );
  }

  /** product × scalar -> the product with that factor. There may be a reshape between the two. */
  scale(): Node | null {
    const { g, node, inputs } = this;
    if (node.op === 'Neg' && this.isProduct(0)) return scaled(g, inputs[0]!, -1);
    if (node.op !== 'Mul') return null;
    for (const [i, j] of pairs) {
      const by = scalarOf(inputs[j]!);
      if (by === null || inputs[i]!.shape.length !== node.shape.length) continue;
      const product = this.isProduct(i) ? inputs[i]! : this.reshapedProduct(i);
      if (product === null) continue;
      const result = scaled(g, product, by);
      this.absorbed = result !== null;
      return result && g.reshape(result, node.shape);
    }
    return null;
  }

  /** (scalar × a) b -> one product a b with that factor. */
  product(): Node | null {
    const { g, node, inputs, factored } = this;
    if (node.dtype !== 'float32' || (node.op !== 'MatMul' && node.op !== 'FusedMatMul')) return null;
    const [a, b] = [factored.get(node.inputs[0]!), factored.get(node.inputs[1]!)];
    if (a === undefined && b === undefined) return null;
    const alpha = { float: factor(node, 'alpha') * (a?.by ?? 1) * (b?.by ?? 1) };
    if (!moves(alpha.float)) return null;
    const attributes = { transA: flag(node, 'transA'), transB: flag(node, 'transB'), alpha };
    return g.add('FusedMatMul', [a?.bare ?? inputs[0]!, b?.bare ?? inputs[1]!], attributes, node.shape, 'float32', 'com.microsoft');
  }

  /**
   * Sum of (scalar × a) -> scalar × (sum of a). This multiplies fewer elements. It is not done for a scalar below 1, because the unscaled
   * sum could overflow.
   */
  reduction(): Node | null {
    const { g, node, inputs, factored } = this;
    const inner = node.op === 'ReduceSum' ? factored.get(node.inputs[0]!) : undefined;
    if (inner === undefined || Math.abs(inner.by) < 1) return null;
    const sum = g.add('ReduceSum', [inner.bare, inputs[1]!], { ...node.attributes }, node.shape, node.dtype);
    return g.binary('Mul', sum, g.scalar(inner.by));
  }

  /** Notes that this node is a scalar times another node. Nodes that read it can then use this. */
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
      if (by !== null && moves(by) && sameShape(inputs[i]!.shape, node.shape)) factored.set(node, { bare: inputs[i]!, by });
    }
  }

  private single(old: Node): boolean {
    return this.uses.get(old) === 1;
  }

  /** The product behind an input that reshapes it, if neither is used elsewhere, or null. */
  private reshapedProduct(i: number): Node | null {
    const [old, fresh] = [this.node.inputs[i]!, this.inputs[i]!];
    if (old.op !== 'Reshape' || fresh.op !== 'Reshape' || !this.single(old) || !this.single(old.inputs[0]!)) return null;
    return isProductNode(fresh.inputs[0]!) ? fresh.inputs[0]! : null;
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
