import { type Tensor } from '@atelier/tensor';
import { gelu, silu } from './activation.ts';
import { linear, type LinearParams } from './linear.ts';

export type MlpParams = { fc1: LinearParams; fc2: LinearParams };

/** Two linear layers with a nonlinearity between them: [..., D] -> [..., rD] -> [..., D]. DiT uses the tanh GELU, Swin the erf one. */
export function mlp(p: MlpParams, x: Tensor, activation: 'gelu-tanh' | 'gelu-erf' | 'silu'): Tensor {
  const hidden = linear(p.fc1, x);
  if (activation === 'gelu-tanh') return linear(p.fc2, gelu(hidden, 'tanh'));
  if (activation === 'gelu-erf') return linear(p.fc2, gelu(hidden, 'erf'));
  if (activation === 'silu') return linear(p.fc2, silu(hidden));
  throw new Error(`mlp: wanted activation 'gelu-tanh', 'gelu-erf' or 'silu', got ${String(activation)}`);
}
