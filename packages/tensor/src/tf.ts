import { registerGradients } from './gradients/index.ts';

export { tf, type DataType, type Tensor, type TypedArray } from './tfjs.ts';

// Whoever takes TensorFlow.js from here has every derivative right, on every engine.
registerGradients();
