import { tf, type HostTensor, type Tensor } from '@atelier/tensor';
import { expectClose, type Tolerance } from './close.ts';

/** A function of flat float64 arrays on the host. */
export type HostFunction = (...xs: Float64Array[]) => number | ArrayLike<number>;
export type DifferenceOptions = {
  /** Distance between the points of evaluation. Default 2⁻¹⁰ in float64, 2⁻⁶ in float32. */
  step?: number;
};
export type GradientOptions = DifferenceOptions & {
  /** Weights of the outputs: the weighted sum is differentiated. A function with several outputs needs one weight per output. */
  cotangent?: ArrayLike<number>;
};

/** Powers of two, so that the points are exact. For functions of scale one, the truncation error (step⁴) and the rounding error (ε / step) are then similar. */
const STEP_64 = 2 ** -10;
const STEP_32 = 2 ** -6;

/**
 * Gradients of ⟨cotangent, f⟩ with respect to each of `xs`, by the central difference of five points,
 * f'(x) ≈ (f(x-2h) - 8 f(x-h) + 8 f(x+h) - f(x+2h)) / 12h, whose error is h⁴ f⁽⁵⁾ / 30. It needs four evaluations per number in `xs`.
 */
export function centralDifference(f: HostFunction, xs: readonly Float64Array[], options: GradientOptions = {}): Float64Array[] {
  const step = checkStep('centralDifference', options.step ?? STEP_64);
  const evaluate = (points: Float64Array[]): number => pairWith(f(...points), options.cotangent);
  return xs.map((x, input) =>
    x.map((_, at) => {
      const along = (distance: number): number =>
        evaluate(xs.map((other, k) => (k === input ? other.map((v, i) => (i === at ? v + distance : v)) : other.slice())));
      return (along(-2 * step) - 8 * along(-step) + 8 * along(step) - along(2 * step)) / (12 * step);
    }),
  );
}

/** J·ẋ of all outputs of `f` at `xs` along `tangents`, by the same difference of five points. */
export function directionalDifference(
  f: HostFunction,
  xs: readonly Float64Array[],
  tangents: readonly ArrayLike<number>[],
  options: DifferenceOptions = {},
): Float64Array {
  const step = checkStep('directionalDifference', options.step ?? STEP_64);
  if (tangents.length !== xs.length || tangents.some((tangent, k) => tangent.length !== xs[k]!.length)) {
    throw new Error(
      `directionalDifference: wanted tangents of [${xs.map((x) => x.length)}] numbers, got [${tangents.map((t) => t.length)}]`,
    );
  }
  const along = (distance: number): number[] => asList(f(...xs.map((x, k) => x.map((v, i) => v + distance * tangents[k]![i]!))));
  const [a, b, c, d] = [along(-2 * step), along(-step), along(step), along(2 * step)];
  return Float64Array.from(a, (_, i) => (a[i]! - 8 * b[i]! + 8 * c[i]! - d[i]!) / (12 * step));
}

/** `centralDifference` of a function of float32 tensors, evaluated by the current engine: one gradient per tensor in `xs`. The error is about 5e-5. */
export function tensorDifference(f: (...xs: Tensor[]) => Tensor, xs: readonly Tensor[], options: GradientOptions = {}): HostTensor[] {
  const gradients = centralDifference(onHost(f, xs), xs.map(toFloat64), { ...options, step: options.step ?? STEP_32 });
  return gradients.map((gradient, k) => ({ dtype: 'float32', shape: [...xs[k]!.shape], data: Float32Array.from(gradient) }));
}

/** `directionalDifference` of a function of float32 tensors, evaluated by the current engine. */
export function tensorDirectionalDifference(
  f: (...xs: Tensor[]) => Tensor,
  xs: readonly Tensor[],
  tangents: readonly Tensor[],
  options: DifferenceOptions = {},
): HostTensor {
  const shape = tf.tidy(() => [...f(...xs).shape]);
  const derivative = directionalDifference(onHost(f, xs), xs.map(toFloat64), tangents.map(toFloat64), { step: options.step ?? STEP_32 });
  return { dtype: 'float32', shape, data: Float32Array.from(derivative) };
}

/** Checks the gradients that TensorFlow.js derives for `f` at `xs` against `tensorDifference`. @throws Error as `expectClose` does, with the name of the input. */
export function expectGradients(
  f: (...xs: Tensor[]) => Tensor,
  xs: readonly Tensor[],
  { step, cotangent, ...tolerance }: Tolerance & GradientOptions,
  name = 'expectGradients',
): void {
  const expected = tensorDifference(f, xs, { ...(step === undefined ? {} : { step }), ...(cotangent === undefined ? {} : { cotangent }) });
  tf.tidy(() => {
    const shape = f(...xs).shape;
    const dy = cotangent === undefined ? tf.ones(shape) : tf.tensor(Array.from(cotangent), shape);
    const { grads } = tf.valueAndGrads(f)([...xs], dy);
    grads.forEach((gradient, k) => expectClose(gradient, expected[k]!, tolerance, `${name}: input ${k}`));
  });
}

function onHost(f: (...xs: Tensor[]) => Tensor, xs: readonly Tensor[]): HostFunction {
  return (...points) =>
    tf.tidy(() => {
      const inputs = points.map((point, k) => tf.tensor(Float32Array.from(point), xs[k]!.shape, 'float32'));
      return f(...inputs).dataSync();
    });
}

function toFloat64(x: Tensor): Float64Array {
  if (x.dtype !== 'float32') throw new Error(`tensorDifference: wanted float32 inputs, got ${x.dtype}`);
  return Float64Array.from(x.dataSync());
}

function pairWith(output: number | ArrayLike<number>, cotangent: ArrayLike<number> | undefined): number {
  const values = asList(output);
  const weights = cotangent ?? (values.length === 1 ? [1] : []);
  if (weights.length !== values.length)
    throw new Error(`centralDifference: wanted a cotangent of ${values.length} numbers, one for each output, got ${weights.length}`);
  return values.reduce((sum, value, i) => sum + value * weights[i]!, 0);
}

const asList = (output: number | ArrayLike<number>): number[] => (typeof output === 'number' ? [output] : Array.from(output));

function checkStep(where: string, step: number): number {
  if (!Number.isFinite(step) || step <= 0) throw new Error(`${where}: wanted a finite step > 0, got ${step}`);
  return step;
}
