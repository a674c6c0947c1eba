import { dims, type Tensor } from '@atelier/tensor';

/**
 * Reads the scores of the coarse stage [B, K, n, m] and throws if one is not finite. A compiled graph cannot stop: there, a score that is not finite gives NaN in
 * the output. This says where it began. Call it outside of compiled functions, with the `scores` of `vsaStages`.
 *
 * @throws Error that names the first such score
 */
export async function checkScores(scores: Tensor): Promise<void> {
  const { K, n, m } = dims<'K' | 'n' | 'm'>(scores, 'B K n m', 'checkScores: scores');
  const values = await scores.data();
  const at = values.findIndex((value) => !Number.isFinite(value));
  if (at < 0) return;
  const row = Math.floor(at / m);
  throw new Error(
    `checkScores: wanted finite scores, got ${values[at]} for query tile ${row % n} and key tile ${at % m} of head ${Math.floor(row / n) % K}, batch entry ${Math.floor(row / (n * K))}`,
  );
}
