import type { ChartData, StepPictures } from '../runner/run-data.ts';
import { drawChart } from './chart.ts';
import { dataOf } from './element.ts';
import { stepSlider } from './steps.ts';

// The report of one run: its curves, and its samples under a slider.
document.getElementById('charts')?.append(...dataOf<ChartData[]>('chart-data').map((chart) => drawChart(chart)));
document.getElementById('steps')?.append(...dataOf<StepPictures[]>('step-data').map((one) => stepSlider(one.name, [one])));
