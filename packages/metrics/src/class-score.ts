import { countSamples, type Samples } from './samples.ts';

/**
 * The inception score with any classifier: exp of the mean over samples of KL(p(y|x) ‖ p(y)), where p(y) is the mean of p(y|x) (arXiv 1606.03498). It lies between 1 and the
 * number of classes, and is high if every sample is clearly of a class and all classes are drawn alike. Only values with the same classifier can be compared.
 *
 * @param logits of the classes [n, classes] flattened
 * @throws Error if an argument has a wrong size or a value is not finite
 */
export function classScore(logits: Samples, classes: number): number {
  const n = countSamples('classScore: logits', logits, classes);
  const logProbabilities = new Float64Array(logits.length);
  const marginal = new Float64Array(classes);
  for (let i = 0; i < logits.length; i += classes) {
    let most = -Infinity;
    for (let k = 0; k < classes; k++) most = Math.max(most, logits[i + k]!);
    let sum = 0;
    for (let k = 0; k < classes; k++) sum += Math.exp(logits[i + k]! - most);
    for (let k = 0; k < classes; k++) {
      logProbabilities[i + k] = logits[i + k]! - most - Math.log(sum);
      marginal[k]! += Math.exp(logProbabilities[i + k]!) / n;
    }
  }
  let divergence = 0;
  for (let i = 0; i < logits.length; i++) {
    const share = Math.exp(logProbabilities[i]!);
    // A class of probability 0 adds nothing; its logarithm may be too small for the marginal.
    if (share > 0) divergence += (share * (logProbabilities[i]! - Math.log(marginal[i % classes]!))) / n;
  }
  return Math.exp(divergence);
}
