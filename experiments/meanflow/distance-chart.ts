import type { Picture } from '../src/runner/experiment.ts';
import { lineChart } from '../src/pictures/line-chart.ts';

/** A distance by number of network evaluations a sample. */
export type Distances = { readonly [steps: string]: number };

/** The distance from the data over the number of evaluations, for both methods, with that of true samples as the floor. */
export function distanceChart(title: string, found: { meanFlow: Distances; flowMatching: Distances; floor: number }): Picture {
  const points = (distances: Distances): [number, number][] => Object.entries(distances).map(([steps, value]) => [Number(steps), value]);
  const most = Math.max(...points(found.flowMatching).map(([steps]) => steps));
  const series = [
    { name: 'MeanFlow', points: points(found.meanFlow) },
    { name: 'flow matching', points: points(found.flowMatching) },
    { name: 'true samples', points: [1, most].map((steps): [number, number] => [steps, found.floor]), dashed: true },
  ];
  // A logarithm has no place for a distance of 0, which sets of equal samples would have.
  const positive = series.map((one) => ({ ...one, points: one.points.filter(([, value]) => value > 0) }));
  return lineChart(positive, { title, x: 'evaluations of the network a sample', logX: true, logY: true, dots: true });
}
