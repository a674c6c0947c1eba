export {
  defineExperiment,
  type BaseConfig,
  type Checkpoint,
  type Checkpoints,
  type ClaimDefinition,
  type Experiment,
  type Json,
  type Paper,
  type PartialConfig,
  type Picture,
  type Progress,
  type Resumable,
  type RunContext,
} from './runner/experiment.ts';
export { experiments } from './registry.ts';
export { CheckpointFolder } from './runner/checkpoint.ts';
export { differences, outcomeOf } from './runner/outcome.ts';
export { trainLoop, type Trained, type TrainLoop } from './training/train-loop.ts';
export { imageGrid, type ImageGridOptions } from './pictures/image-grid.ts';
export { animation, filmStrip, type AnimationOptions, type FilmStripOptions } from './pictures/videos.ts';
export { scatterGrid, type ScatterGridOptions, type ScatterPanel } from './pictures/scatter-grid.ts';
export { lineChart, type ChartSeries, type LineChartOptions } from './pictures/line-chart.ts';
export { Interrupted, StopError } from './runner/errors.ts';
