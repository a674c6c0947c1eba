import { registerGradients } from './gradients/index.ts';

export { tf, type DataType, type Tensor, type TypedArray } from './tfjs.ts';

// TensorFlow.js imported from here has correct derivatives, on every engine.
registerGradients();
