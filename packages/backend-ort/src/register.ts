import { OrtBackend, type TensorInfo } from './backend.ts';
import { NO_ATTRIBUTES } from './graph.ts';
import { deliver, KernelCall, type KernelTable } from './kernel.ts';
import { binary } from './kernels/binary.ts';
import { blocks } from './kernels/blocks.ts';
import { complexKernels, fromParts } from './kernels/complex.ts';
import { convolution } from './kernels/convolution.ts';
import { creation } from './kernels/creation.ts';
import { dilations } from './kernels/dilation.ts';
import { einsums } from './kernels/einsum.ts';
import { elementwise } from './kernels/elementwise.ts';
import { fused, registerFusedGradients } from './kernels/fused.ts';
import { host, hostReasons, onHost } from './kernels/host.ts';
import { images } from './kernels/images.ts';
import { indexing } from './kernels/indexing.ts';
import { matmul } from './kernels/matmul.ts';
import { normalization } from './kernels/normalization.ts';
import { pooling } from './kernels/pooling.ts';
import { reduce } from './kernels/reduce.ts';
import { resize } from './kernels/resize.ts';
import { scatter } from './kernels/scatter.ts';
import { shape } from './kernels/shape.ts';
import { checkRuntime, runtimeOptions, type RuntimeOptions } from './runtime.ts';
import { tf } from './tf.ts';

/** All kernels for numbers. */
export const kernels: KernelTable = {
  ...elementwise,
  ...binary,
  ...reduce,
  ...shape,
  ...indexing,
  ...creation,
  ...matmul,
  ...convolution,
  ...pooling,
  ...resize,
  ...normalization,
  ...blocks,
  ...einsums,
  ...scatter,
  ...images,
  ...dilations,
  ...fused,
  ...fromParts,
  ...host,
};

const onComplex = complexKernels(kernels);
/** Kernels that read no element. So they work for strings in the same way as for numbers. */
const lookAtNothing = new Set(['Identity', 'Reshape', 'ExpandDims']);

/**
 * Registers all kernels for a backend. The types of a call's inputs decide between the kernels for numbers, for complex pairs and for
 * strings.
 */
function registerKernels(backendName: string): void {
  for (const kernelName of new Set([...Object.keys(kernels), ...Object.keys(onComplex)])) {
    // A kernel on the host reads values, so its call cannot be remembered.
    const remembered = kernelName in hostReasons ? null : (kernels[kernelName] ?? null);
    tf.registerKernel({
      kernelName,
      backendName,
      kernelFunc: ({ inputs, backend, attrs }) => {
        const ort = backend as OrtBackend;
        ort.graph.origin = kernelName;
        const infos = inputs as unknown as Record<string, TensorInfo>;
        const attributes = attrs ?? NO_ATTRIBUTES;
        if (remembered === null || ort.isTracing || isView(kernelName, infos, attributes))
          return perform(new KernelCall(kernelName, ort, infos, attributes)) as never;
        return ort.calls.call(kernelName, remembered, infos, attributes, perform) as never;
      },
    });
  }
}

/** Whether the result is the data of the input, perhaps in another shape. */
const isView = (name: string, { x }: Record<string, TensorInfo>, { dtype }: Record<string, unknown>): boolean =>
  lookAtNothing.has(name) || (name === 'Cast' && x?.dtype === dtype);

function perform(call: KernelCall): TensorInfo | TensorInfo[] {
  const { name, backend, kind } = call;
  if (kind === 'string' && !lookAtNothing.has(name)) return deliver(backend, onHost(call));
  const kernel = (kind === 'complex64' ? onComplex : kernels)[name];
  if (kernel === undefined)
    throw call.refuse(...((kind === 'number' ? ['a complex64 tensor', 'numbers'] : ['float32, int32 or bool', kind]) as [string, string]));
  return deliver(backend, kernel(call));
}

/**
 * Makes `tf.setBackend('ort')` work. A second call with other options replaces the backend of the first call.
 * @throws Error if ONNX Runtime is not installed or lacks the device
 */
export function registerOrt(options: Partial<RuntimeOptions> = {}, name = 'ort'): void {
  const settled = runtimeOptions(options);
  checkRuntime(settled);
  if (tf.findBackendFactory(name) !== null) tf.removeBackend(name);
  else {
    registerKernels(name);
    registerFusedGradients();
  }
  tf.registerBackend(name, () => new OrtBackend(settled), 4);
}
