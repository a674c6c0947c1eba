/**
 * The most likely class of each row of logits or probabilities; for ties, the first one.
 *
 * @param logits [n, classes] flattened.
 * @returns [n] int32.
 * @throws Error if the length is not a multiple of `classes` or a value is NaN.
 */
export function predictedClasses(logits: ArrayLike<number>, classes: number): Int32Array {
  if (!Number.isInteger(classes) || classes < 1)
    throw new Error(`predictedClasses: wanted classes to be a whole number of at least 1, got ${classes}`);
  if (logits.length % classes !== 0) throw new Error(`predictedClasses: wanted logits [n, ${classes}], got ${logits.length} numbers`);
  const predictions = new Int32Array(logits.length / classes);
  for (let i = 0; i < logits.length; i++) {
    const row = Math.floor(i / classes);
    if (Number.isNaN(logits[i])) throw new Error(`predictedClasses: wanted numbers, got NaN in row ${row}, class ${i % classes}`);
    if (logits[i]! > logits[row * classes + predictions[row]!]!) predictions[row] = i % classes;
  }
  return predictions;
}

/**
 * Share of samples that a classifier assigns to the class they were made for, in [0, 1].
 *
 * @param predictions, labels [n] class indices.
 * @throws Error if the counts differ or are 0.
 */
export function classShare(predictions: Int32Array, labels: Int32Array): number {
  if (labels.length === 0) throw new Error('classShare: wanted at least 1 label, got 0');
  if (predictions.length !== labels.length)
    throw new Error(`classShare: wanted ${labels.length} predictions, as many as labels, got ${predictions.length}`);
  return labels.reduce((hits, label, i) => hits + (predictions[i] === label ? 1 : 0), 0) / labels.length;
}
