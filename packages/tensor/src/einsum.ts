import { customGradient } from './custom-gradient.ts';
import { tf, type Tensor } from './tf.ts';

/**
 * Sums of products, with a letter for each axis: `einsum('bqd,bkd->bqk', q, k)`. It has a gradient; `tf.einsum` has none. It takes one or
 * two tensors. A letter may occur once in each. Letters that do not occur in the result are summed over.
 *
 * The gradient of one tensor is such a sum too, over the cotangent and the other tensor. So it can be differentiated again.
 * @throws Error for an equation of another form, or if sizes differ for the same letter
 */
export function einsum(equation: string, ...xs: Tensor[]): Tensor {
  const { inputs, output } = parse(equation, xs);
  return customGradient(xs, (...tensors) => ({
    value: tf.einsum(equation, ...tensors),
    kept: tensors,
    pullback: (dy, ...saved) => saved.map((x, i) => pullback(dy, output, saved, inputs, i, x)),
  }));
}

/**
 * dL/dx_i: the product of the cotangent and the other tensor, summed to the letters of x_i. If only x_i has a letter, the gradient is
 * repeated along this axis.
 */
function pullback(dy: Tensor, output: string, saved: readonly Tensor[], inputs: string[], i: number, x: Tensor): Tensor {
  const wanted = inputs[i]!;
  const others = saved.flatMap((other, k) => (k === i ? [] : [{ other, letters: inputs[k]! }]));
  const known = output + others.map(({ letters }) => letters).join('');
  const kept = [...wanted].filter((letter) => known.includes(letter)).join('');
  const product = einsum(
    `${[output, ...others.map(({ letters }) => letters)].join(',')}->${kept}`,
    dy,
    ...others.map(({ other }) => other),
  );
  const shape = [...wanted].map((letter, axis) => (kept.includes(letter) ? x.shape[axis]! : 1));
  return tf.broadcastTo(tf.reshape(product, shape), x.shape);
}

function parse(equation: string, xs: Tensor[]): { inputs: string[]; output: string } {
  const match = /^([a-zA-Z]*)(?:,([a-zA-Z]*))?->([a-zA-Z]*)$/.exec(equation.replaceAll(' ', ''));
  if (match === null) throw new Error(`einsum: equation: wanted the form 'ab,bc->ac' with one or two tensors, got '${equation}'`);
  const inputs = match[2] === undefined ? [match[1]!] : [match[1]!, match[2]];
  const output = match[3]!;
  if (xs.length !== inputs.length) throw new Error(`einsum: '${equation}' wanted ${inputs.length} tensors, got ${xs.length}`);
  const sizes = new Map<string, number>();
  inputs.forEach((letters, i) => {
    const { shape } = xs[i]!;
    if (new Set(letters).size !== letters.length)
      throw new Error(`einsum: '${equation}' wanted each letter once in a tensor, got '${letters}'`);
    if (letters.length !== shape.length)
      throw new Error(`einsum: '${equation}' wanted ${letters.length} axes for tensor ${i}, got shape [${shape}]`);
    [...letters].forEach((letter, axis) => {
      const known = sizes.get(letter) ?? shape[axis]!;
      if (known !== shape[axis])
        throw new Error(`einsum: '${equation}' wanted size ${known} for '${letter}' of tensor ${i}, got ${shape[axis]}`);
      sizes.set(letter, known);
    });
  });
  if (new Set(output).size !== output.length || [...output].some((letter) => !sizes.has(letter))) {
    throw new Error(`einsum: '${equation}' wanted each letter of the result once and in a tensor, got '${output}'`);
  }
  return { inputs, output };
}
