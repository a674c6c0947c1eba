import { escapeXml as escape } from '../pictures/style.ts';

/** Words that stand in claims, captions and charts, and need a sentence. */
const WORDS: readonly { word: string; match: RegExp; means: string }[] = [
  {
    word: 'floor',
    match: /\bfloor\b/i,
    means:
      'the same distance for a second set of true samples. Two finite sets of the same source are never equal, so no method can be expected to score below it.',
  },
  {
    word: 'bound',
    match: /\bbound\b/i,
    means: 'the value that the measured number has to reach. It is part of the code and does not depend on the run.',
  },
  {
    word: 'seed',
    match: /\bseeds?\b/i,
    means: 'the number that all random numbers of a run come from. Another seed is an independent repetition.',
  },
  {
    word: 'Fréchet distance',
    match: /fréchet/i,
    means:
      'a distance between two sets, from the means and covariances of their features; the FID is one, with the features of an Inception network.',
  },
  {
    word: 'energy distance',
    match: /energy distance/i,
    means: 'a distance between two sets of points, from the distances of their pairs; 0 if both come from the same law.',
  },
  {
    word: 'sliced Wasserstein distance',
    match: /sliced (w2|wasserstein)/i,
    means: 'how far the points of one set have to move to become the other, averaged over many directions.',
  },
  {
    word: 'recall',
    match: /\brecall\b/i,
    means: 'the share of true samples that have a generated one nearby: low if kinds of samples are missing.',
  },
  {
    word: 'guidance',
    match: /\bguidance\b|\bcfg\b|\bω\b/i,
    means: 'the prediction with a class is pushed away from the one without (CFG), which makes samples show their class more clearly.',
  },
  {
    word: 'flow matching',
    match: /flow matching/i,
    means: 'a network learns the velocity from noise to data; samples follow it in many small steps.',
  },
  {
    word: 'teacher',
    match: /\bteacher\b/i,
    means: 'the network of many steps that a network of few steps, the student, is trained to agree with.',
  },
  {
    word: 'multiply-accumulates',
    match: /multiply-accumulates|\bmacs?\b/i,
    means: 'products that are added up: the usual count of the work of a network.',
  },
  {
    word: 'cross-entropy',
    match: /cross-entropy|\bnats\b/i,
    means: 'minus the logarithm of the probability that the network gave to the true token, on average; lower is better.',
  },
  { word: 'captured mass', match: /captured mass/i, means: 'the share of the weights of full attention that lies on the selected tiles.' },
  { word: 'held-out', match: /held-out/i, means: 'data that the network was not trained on.' },
  { word: 'logarithmic axis', match: /logarithmic/i, means: 'equal distances on the axis are equal ratios.' },
];

/** A list of the words that a text uses, with what they mean; empty if it uses none. */
export function wordList(text: string): string {
  const found = WORDS.filter(({ match }) => match.test(text));
  return found.length === 0
    ? ''
    : `<dl class="words">${found.map(({ word, means }) => `<dt>${escape(word)}</dt><dd>${escape(means)}</dd>`).join('')}</dl>`;
}
