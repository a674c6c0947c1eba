import { tf } from '../../src/index.ts';
import { apart, between, normal, values, type Case } from './draw.ts';

const axisLists: (number | number[])[] = [0, 1, -1, [0, 2], [2, 0, 1], [-2, -1]];
/** Sums, means, products, extremes and running ones. */
export const folds: Case[] = [
  ...(['sum', 'mean', 'prod', 'max', 'min'] as const).flatMap((op) =>
    axisLists.flatMap((axis) =>
      [false, true].map((keep): Case => ({
        kernel: op[0]!.toUpperCase() + op.slice(1),
        about: `axes ${JSON.stringify(axis)}${keep ? ', kept' : ''}`,
        f: (x) => tf[op](x!, axis, keep),
        xs: op === 'prod' ? between(0.6, 1.6, [2, 3, 2]) : apart([2, 3, 2]),
      })),
    ),
  ),
  { kernel: 'Max', about: 'ties', f: (x) => tf.max(x!), xs: values([[3, 3, 1], [3]]), kink: true },
  {
    kernel: 'Max',
    about: 'ties along an axis',
    f: (x) => tf.max(x!, 1),
    xs: values([
      [2, 1, 2, 0, 4, 4],
      [2, 3],
    ]),
    kink: true,
  },
  { kernel: 'Min', about: 'ties', f: (x) => tf.min(x!), xs: values([[1, 3, 1], [3]]), kink: true },
  { kernel: 'Maximum', about: 'ties', f: (a, b) => tf.maximum(a!, b!), xs: values([[1, 2], [2]], [[1, 5], [2]]), kink: true },
  { kernel: 'Minimum', about: 'ties', f: (a, b) => tf.minimum(a!, b!), xs: values([[1, 2], [2]], [[1, 5], [2]]), kink: true },
  {
    kernel: 'Prod',
    about: 'one zero',
    f: (x) => tf.prod(x!, 1),
    xs: values([
      [0, 2, 3, 1, 4, 0],
      [2, 3],
    ]),
  },
  { kernel: 'Prod', about: 'two zeros', f: (x) => tf.prod(x!), xs: values([[0, 2, 0], [3]]) },
  ...([0, 1, 2] as const).flatMap((axis) =>
    [false, true].flatMap((exclusive) =>
      [false, true].flatMap((reverse): Case[] => [
        {
          kernel: 'Cumsum',
          about: `axis ${axis}${exclusive ? ', exclusive' : ''}${reverse ? ', reverse' : ''}`,
          f: (x) => tf.cumsum(x!, axis, exclusive, reverse),
          xs: normal([2, 3, 4]),
        },
        {
          kernel: 'Cumprod',
          about: `axis ${axis}${exclusive ? ', exclusive' : ''}${reverse ? ', reverse' : ''}`,
          f: (x) => tf.cumprod(x!, axis, exclusive, reverse),
          xs: between(0.6, 1.6, [2, 3, 4]),
        },
      ]),
    ),
  ),
  { kernel: 'Cumprod', about: 'zeros', f: (x) => tf.cumprod(x!), xs: values([[2, 0, 3, 0, 5], [5]]) },
  { kernel: 'Pow', about: 'base 0', f: (a) => tf.pow(a!, tf.tensor1d([0, 1, 2, 3])), xs: values([[0, 0, 0, 0], [4]]) },
  { kernel: 'Pow', about: 'base below 0', f: (a) => tf.pow(a!, 3), xs: values([[-1, -2], [2]]) },
];
