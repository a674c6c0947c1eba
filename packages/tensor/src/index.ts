export { tf, type DataType, type Tensor, type TypedArray } from './tf.ts';
export { disposeTree, flattenTree, isTensor, treeLeaves, treeMap, unflattenTree, type Tree } from './tree.ts';
export { dims } from './dims.ts';
export { jvp, valueAndGrad, vjp } from './autodiff.ts';
export { Rng, type RngState } from './rng.ts';
export { toHost, toHostTree, toTensor, type HostTensor } from './host-tensor.ts';
export { fromNdarray, toNdarray } from './ndarray.ts';
export { encodeSafetensors, parseSafetensors, type Safetensors } from './safetensors.ts';
