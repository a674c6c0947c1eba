import { tf } from '../tfjs.ts';
import { elementwise, piecewiseConstant } from './elementwise.ts';
import type { Gradient } from './gradient.ts';
import { layout } from './layout.ts';
import { linear } from './linear.ts';
import { normalization } from './normalization.ts';
import { reductions } from './reductions.ts';
import { windows } from './windows.ts';

/** All derivatives that replace or complete those of TensorFlow.js. DERIVATIVES.md says what was wrong with each. */
export const ownGradients = (): Gradient[] =>
  [elementwise, piecewiseConstant, reductions, layout, linear, windows, normalization].flatMap((family) => family());

/** Registers them for every engine, because TensorFlow.js has one registry of gradients for all engines. */
export function registerGradients(): void {
  for (const own of ownGradients()) {
    if (tf.getGradient(own.kernelName) !== undefined) tf.unregisterGradient(own.kernelName);
    tf.registerGradient(own);
  }
}
