import { tf } from '../src/tf.ts';
import { difference } from './compare.ts';
import { compiled, evaluated, operandsOf, type Value } from './modes.ts';
import type { Tensor } from './table.ts';

/** Operators of TensorFlow's graphs, each in a GraphModel of its own that is made in memory. */

type Attributes = Record<string, object>;
/** `operands` as in the tables of calls; `lists` are further inputs that are constants of whole numbers, a single number for a scalar. */
export interface GraphOperator {
  op: string;
  operands: string;
  lists: readonly (number | readonly number[])[];
  attributes: Attributes;
}

const text = (s: string): object => ({ s: Buffer.from(s).toString('base64') });
const list = (...values: number[]): object => ({ list: { i: values.map(String) } });
const operators = (operands: string, names: string, lists: GraphOperator['lists'] = [], attributes: Attributes = {}): GraphOperator[] =>
  names.split(' ').map((op) => ({ op, operands, lists, attributes }));
const keep = { keep_dims: { b: true } };
const window = { strides: list(1, 2, 1, 1), padding: text('SAME'), data_format: text('NHWC') };

export const graphOperators: readonly GraphOperator[] = [
  ...operators('B H', 'Abs Acos Asin Atan Ceil Cos Elu Erf Exp Expm1 Floor Identity IsNan Log Log1p Neg Reciprocal Relu Relu6 Round Rsqrt Selu Sigmoid Sign Sin Sinh Softplus Sqrt Square Tan Tanh ZerosLike OnesLike Softmax LogSoftmax Shape Rank Size'), // prettier-ignore
  ...operators('B H, H', 'Add AddV2 Atan2 BiasAdd Div DivNoNan Equal FloorDiv FloorMod Greater GreaterEqual Less LessEqual Maximum Minimum Mul NotEqual Pow RealDiv SquaredDifference Sub'), // prettier-ignore
  ...operators('B H C', 'Sum Mean Max Min Prod', [[1, 2]], keep),
  ...operators('B H C', 'ArgMax ArgMin', [1], { output_type: { type: 'DT_INT32' } }),
  ...operators('B H C', 'Cumsum', [1], { exclusive: { b: true }, reverse: { b: false } }),
  ...operators('B H C', 'Reshape', [[-1, 6]]),
  ...operators('B H C', 'Transpose', [[2, 0, 1]]),
  ...operators('B H C', 'ExpandDims', [1]),
  ...operators('B H C', 'ReverseV2', [[0, 2]]),
  ...operators('B H C', 'Tile', [[1, 2, 1]]),
  ...operators('B H C', 'Slice', [[0, 1, 0], [2, 3, -1]]), // prettier-ignore
  ...operators('B H C', 'Pad', [[1, 0, 0, 2, 1, 1]]),
  ...operators('B 1 C', 'Squeeze', [], { squeeze_dims: list(1) }),
  ...operators('B H, B H', 'Pack', [], { N: { i: '2' }, axis: { i: '1' } }),
  ...operators('B H, B H', 'ConcatV2', [1], { N: { i: '2' } }),
  ...operators('B H C', 'Unpack', [], { num: { i: '5' }, axis: { i: '1' } }),
  ...operators('B H C', 'GatherV2', [[2, 0], 1]), // prettier-ignore
  ...operators('B H bool, B H, B H', 'Select SelectV2'),
  ...operators('B I J, B J K', 'BatchMatMulV2', [], { adj_x: { b: false }, adj_y: { b: false } }),
  ...operators('I J, J K', 'MatMul', [], { transpose_a: { b: false }, transpose_b: { b: false } }),
  ...operators('I J, J K, K', '_FusedMatMul', [], { num_args: { i: '1' }, fused_ops: { list: { s: [Buffer.from('BiasAdd').toString('base64'), Buffer.from('Relu').toString('base64')] } }, transpose_a: { b: false }, transpose_b: { b: false } }), // prettier-ignore
  ...operators('B H W C, 3 2 C O', 'Conv2D', [], { ...window, dilations: list(1, 1, 1, 1) }),
  ...operators('B H W C, 3 2 C O, O', '_FusedConv2D', [], { ...window, dilations: list(1, 1, 1, 1), num_args: { i: '1' }, fused_ops: { list: { s: [Buffer.from('BiasAdd').toString('base64'), Buffer.from('Relu6').toString('base64')] } } }), // prettier-ignore
  ...operators('B H W C, 3 2 C 2', 'DepthwiseConv2dNative', [], { ...window, strides: list(1, 1, 1, 1), dilations: list(1, 1, 1, 1) }),
  ...operators('B H W C', 'MaxPool AvgPool', [], { ...window, ksize: list(1, 2, 3, 1) }),
  ...operators('B H W C, C, C, C, C', 'FusedBatchNormV3', [], { epsilon: { f: 60 }, data_format: text('NHWC') }),
  ...operators('B H W C', 'ResizeBilinear ResizeNearestNeighbor', [[3, 9]], { align_corners: { b: false }, half_pixel_centers: { b: true } }), // prettier-ignore
  ...operators('B H W 8', 'DepthToSpace', [], { block_size: { i: '2' }, data_format: text('NHWC') }),
];

/** The shapes of the constants: `Pad` wants pairs. */
const constantShape = (op: string, values: number | readonly number[]): number[] =>
  typeof values === 'number' ? [] : op === 'Pad' ? [values.length / 2, 2] : [values.length];

const dtypeOf: Record<string, string> = { float32: 'DT_FLOAT', int32: 'DT_INT32', bool: 'DT_BOOL' };

async function modelOf({ op, lists, attributes }: GraphOperator, operands: readonly Value[]): Promise<tf.GraphModel> {
  const placeholders = operands.map(({ shape, dtype }, i) => ({
    name: `x${i}`,
    op: 'Placeholder',
    attr: { dtype: { type: dtypeOf[dtype] }, shape: { shape: { dim: shape.map((size) => ({ size: String(size) })) } } },
  }));
  const constants = lists.map((_, i) => ({ name: `c${i}`, op: 'Const', attr: { dtype: { type: 'DT_INT32' } } }));
  const input = [...placeholders, ...constants].map(({ name }) => name);
  const attr = { T: { type: 'DT_FLOAT' }, ...attributes };
  const topology = { node: [...placeholders, ...constants, { name: 'y', op, input, attr }], library: {}, versions: {} };
  return tf.loadGraphModel({
    load: () => Promise.resolve({
      modelTopology: topology,
      format: 'graph-model',
      weightSpecs: lists.map((values, i) => ({ name: `c${i}`, shape: constantShape(op, values), dtype: 'int32' as const })),
      weightData: Int32Array.from(lists.flat()).buffer,
    }), // prettier-ignore
  });
}

/** Where an operator on `ort`, evaluated twice and compiled, differs from the same on `cpu`. */
export async function graphFaults(one: GraphOperator): Promise<string[]> {
  const operands = operandsOf(one.operands, 'float32', null);
  const call = (model: tf.GraphModel) => ({
    kernel: one.op,
    operands: one.operands,
    f: (...xs: Tensor[]) => model.execute(Object.fromEntries(xs.map((x, i) => [`x${i}`, x]))) as Tensor | Tensor[],
  });
  await tf.setBackend('cpu');
  const theirs = await modelOf(one, operands);
  const right = evaluated(call(theirs), operands);
  theirs.dispose();
  if (right instanceof Error) return [`cpu refuses it: ${right.message}`];
  await tf.setBackend('ort');
  const ours = await modelOf(one, operands);
  const faults: string[] = [];
  for (const way of ['evaluated', 'evaluated again', 'compiled']) {
    const got = way === 'compiled' ? compiled(call(ours), operands) : evaluated(call(ours), operands);
    const fault = difference(right, got);
    if (fault !== null) faults.push(`${way}: ${fault}`);
  }
  ours.dispose();
  return faults;
}
