import { registerGradients } from './gradients/index.ts';

export { tf, type DataType, type Tensor, type TypedArray } from './tfjs.ts';

// So whoever imports TensorFlow.js from here gets correct derivatives, on every engine.
registerGradients();
