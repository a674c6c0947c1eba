import { tf } from '../tfjs.ts';
import { elementwise, piecewiseConstant } from './elementwise.ts';
import type { Gradient } from './gradient.ts';
import { layout } from './layout.ts';
import { linear } from './linear.ts';
import { normalization } from './normalization.ts';
import { reductions } from './reductions.ts';
import { windows } from './windows.ts';

/** Every derivative that takes the place of one of TensorFlow.js's, or of none. DERIVATIVES.md says what was wrong with each. */
export const ownGradients = (): Gradient[] =>
  [elementwise, piecewiseConstant, reductions, layout, linear, windows, normalization].flatMap((family) => family());

/** Registers them for every engine: TensorFlow.js has one registry of gradients for all engines. */
export function registerGradients(): void {
  for (const own of ownGradients()) {
    if (tf.getGradient(own.kernelName) !== undefined) tf.unregisterGradient(own.kernelName);
    tf.registerGradient(own);
  }
}
