import { lineChart } from '../src/pictures/line-chart.ts';
import type { Picture } from '../src/runner/experiment.ts';
import type { BySteps } from './comparison.ts';
import { colors } from './methods.ts';

/** One of the distances in the scores over the number of evaluations, for both methods, with that of true samples as the floor. */
export function distanceChart<Name extends string>(
  title: string,
  found: {
    meanFlow: { scores: BySteps<{ [name in Name]: number }> };
    flowMatching: { scores: BySteps<{ [name in Name]: number }> };
    floor: { [name in Name]: number };
  },
  distance: Name,
): Picture {
  const points = ({ scores }: { scores: BySteps<{ [name in Name]: number }> }): [number, number][] =>
    Object.entries(scores).map(([steps, score]) => [Number(steps), score[distance]]);
  const most = Math.max(...points(found.flowMatching).map(([steps]) => steps));
  const series = [
    { name: 'MeanFlow', color: colors.MeanFlow, points: points(found.meanFlow) },
    { name: 'flow matching', color: colors['flow matching'], points: points(found.flowMatching) },
    {
      name: 'true samples (floor)',
      color: colors['true samples'],
      points: [1, most].map((steps): [number, number] => [steps, found.floor[distance]]),
      dashed: true,
    },
  ];
  // A logarithm has no place for a distance of 0, which sets of equal samples would have.
  const positive = series.map((one) => ({ ...one, points: one.points.filter(([, value]) => value > 0) }));
  return lineChart(positive, { title, x: 'evaluations of the network per sample', logX: true, logY: true, dots: true });
}
