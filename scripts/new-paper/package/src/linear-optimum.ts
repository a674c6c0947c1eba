/**
 * The least mean squared error, per coordinate, of any denoiser of a Gaussian whose covariance has the given eigenvalues: Σ_i λ_i·σ² / (λ_i + σ²) / D
 * (Wiener filter). A linear denoiser reaches it.
 *
 * @throws Error if a number is not positive
 */
export function leastError(eigenvalues: readonly number[], sigma: number): number {
  for (const value of [...eigenvalues, sigma])
    if (!(value > 0 && Number.isFinite(value))) throw new Error(`leastError: wanted finite numbers above 0, got ${value}`);
  if (eigenvalues.length === 0) throw new Error('leastError: wanted an eigenvalue, got none');
  return eigenvalues.reduce((sum, value) => sum + (value * sigma ** 2) / (value + sigma ** 2), 0) / eigenvalues.length;
}
