import { flattenTree, tf, valueAndGrad, type Tensor, type Tree } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import { expect } from 'vitest';

/** Bounds, relative to a tensor's largest value. */
export const VALUE = { max: 1e-4 };
const GRADIENT = { max: 5e-4 };

/**
 * Gradients of Σ out·gout with respect to parameters and inputs against those of a case, `<name>.g.<parameter>` and `<name>.g_in.<input>`; every
 * parameter must have one. Returns how many were compared.
 */
export function expectGradientsOf<I extends { params: Tree } & Record<string, Tree>>(
  file: GoldenFile,
  name: string,
  inputs: I,
  run: (at: I) => Tensor,
): number {
  const gout = file.tensor(`${name}.in.gout`);
  const { grads } = valueAndGrad((at: I) => ({ loss: tf.sum(tf.mul(run(at), gout)), aux: {} }), inputs);
  const { params, ...others } = grads;
  const [got, wanted] = [flattenTree(params), file.tensors(`${name}.g.`)];
  expect(Object.keys(got).sort()).toEqual(Object.keys(wanted).sort());
  for (const [key, gradient] of Object.entries(wanted)) expectClose(got[key]!, gradient, GRADIENT, `${name}.g.${key}`);
  const inner = flattenTree(others);
  const given = file.tensors(`${name}.g_in.`);
  for (const [key, gradient] of Object.entries(given)) expectClose(inner[key]!, gradient, GRADIENT, `${name}.g_in.${key}`);
  return Object.keys(wanted).length + Object.keys(given).length;
}
