import ndarray, { type NdArray } from 'ndarray';
import { toHost, type HostTensor } from './host-tensor.ts';
import { tf, type Tensor } from './tf.ts';

/** ndarray element types that a tensor can hold. Types of at most 32 bits keep their values exactly. */
const TENSOR_DTYPE = {
  float32: 'float32',
  float64: 'float32',
  array: 'float32',
  int8: 'int32',
  int16: 'int32',
  int32: 'int32',
  uint8: 'int32',
  uint8_clamped: 'int32',
  uint16: 'int32',
} as const;

/**
 * A new tensor with the values of an ndarray, in the order of its axes. Transposed, strided and reversed views work too.
 *
 * float64 and plain arrays are rounded to float32. int32 and integers of at most 16 bits become int32.
 * @throws Error for other element types (uint32, bigint, generic).
 */
export function fromNdarray(nd: NdArray): Tensor {
  const dtype = TENSOR_DTYPE[nd?.dtype as keyof typeof TENSOR_DTYPE];
  if (dtype === undefined)
    throw new Error(`fromNdarray: wanted an ndarray of ${Object.keys(TENSOR_DTYPE).join(', ')}, got ${nd?.dtype ?? typeof nd}`);
  const { shape, stride } = nd;
  const source = nd.data as ArrayLike<number>;
  const data = dtype === 'float32' ? new Float32Array(nd.size) : new Int32Array(nd.size);
  const index = new Array<number>(shape.length).fill(0);
  let from = nd.offset;
  for (let to = 0; to < data.length; to++) {
    data[to] = source[from]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += stride[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      from -= stride[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
  return tf.tensor(data, [...shape], dtype);
}

/** An ndarray in C order with a copy of the values. bool becomes uint8. */
export async function toNdarray(tensor: Tensor): Promise<NdArray<HostTensor['data']>> {
  const { data, shape } = await toHost(tensor);
  return ndarray(data, shape);
}
