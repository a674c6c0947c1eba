/** Calls of the sweep in which `ort` does not give what `cpu` gives, on purpose. CONFORMANCE.md explains them too. */
export interface Difference {
  kernels: readonly string[];
  /** Whether an axis of the call is empty. Both if absent. */
  empty?: boolean;
  /** The types of the call. All if absent. */
  dtypes?: readonly string[];
  reason: string;
}

export const differences: readonly Difference[] = [
  { kernels: ['All'], empty: true, reason: 'all of no elements is true; cpu gives false' },
  { kernels: ['ArgMax', 'ArgMin'], empty: true, reason: 'no element is the largest of none, so this is an error; cpu gives 0' },
  {
    kernels: ['Max', 'Min', 'Max of all', 'Min of all', 'LogSumExp'],
    empty: true,
    dtypes: ['float32'],
    reason: 'the maximum of nothing is -∞ and the minimum ∞, as in TensorFlow; cpu gives NaN',
  },
  { kernels: ['Mean', 'Mean of all', 'Moments'], empty: true, reason: 'the mean of nothing is NaN, as in TensorFlow; cpu gives 0' },
  {
    kernels: ['LogSoftmax', 'LogSumExp'],
    empty: false,
    dtypes: ['bool'],
    reason: 'cpu subtracts the maximum in bool arithmetic, which makes the sum of the exponentials a bool',
  },
  { kernels: ['GatherV2 in batches'], empty: true, reason: 'a batch of none is empty; cpu throws' },
  { kernels: ['UnsortedSegmentSum'], dtypes: ['int32', 'bool'], reason: 'sums of whole numbers stay whole; cpu gives floats' },
  { kernels: ['BatchMatMul, turned'], empty: true, reason: 'a batch of none is empty; cpu gives more elements than the shape has' },
  {
    kernels: ['CropAndResize', 'ResizeBilinear', 'ResizeNearestNeighbor'],
    empty: true,
    reason: 'an image without pixels cannot be resized to one with pixels; cpu invents numbers',
  },
  { kernels: ['ResizeBilinearGrad'], reason: 'cpu exchanges height and width' },
  { kernels: ['ResizeNearestNeighborGrad'], empty: false, reason: 'cpu takes the gradients of another image of the batch' },
  { kernels: ['Transform'], empty: false, dtypes: ['float32'], reason: 'every image of a batch is transformed; cpu transforms the first' },
  {
    kernels: ['LRN'],
    dtypes: ['int32', 'bool'],
    reason: 'the result is a float; on cpu a tensor of whole numbers holds floats',
  },
  { kernels: ['FFT', 'IFFT'], empty: true, reason: 'the transform of nothing is empty; cpu throws' },
];

/** The reason why a call may differ, or undefined. */
export const reasonFor = (kernel: string, dtype: string, empty: string | null): Difference | undefined =>
  differences.find(
    ({ kernels, empty: wanted, dtypes }) =>
      kernels.includes(kernel) && (wanted ?? empty !== null) === (empty !== null) && (dtypes === undefined || dtypes.includes(dtype)),
  );
