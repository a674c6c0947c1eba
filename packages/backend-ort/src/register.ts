import { OrtBackend } from './backend.ts';
import { registerKernels, type KernelTable } from './kernel.ts';
import { binary } from './kernels/binary.ts';
import { convolution } from './kernels/convolution.ts';
import { creation } from './kernels/creation.ts';
import { elementwise } from './kernels/elementwise.ts';
import { fused, registerFusedGradients } from './kernels/fused.ts';
import { indexing } from './kernels/indexing.ts';
import { matmul } from './kernels/matmul.ts';
import { reduce } from './kernels/reduce.ts';
import { shape } from './kernels/shape.ts';
import type { RuntimeOptions } from './runtime.ts';
import { tf } from './tf.ts';

/** Every kernel of the backend, by family. */
export const kernels: KernelTable = {
  ...elementwise,
  ...binary,
  ...reduce,
  ...shape,
  ...indexing,
  ...creation,
  ...matmul,
  ...convolution,
  ...fused,
};

/** Makes `tf.setBackend('ort')` work; a second call with other options replaces the first. */
export function registerOrt(options: Partial<RuntimeOptions> = {}, name = 'ort'): void {
  if (tf.findBackendFactory(name) !== null) tf.removeBackend(name);
  else {
    registerKernels(kernels, name);
    registerFusedGradients();
  }
  tf.registerBackend(name, () => new OrtBackend(options), 4);
}
