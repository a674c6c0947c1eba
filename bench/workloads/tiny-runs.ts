/** A short run of an experiment that passes through training, evaluation, pictures and claims. */
export interface TinyRun {
  readonly name: string;
  /** The command line, without the folder of the runs. */
  readonly words: readonly string[];
  /** Claims that measure times. */
  readonly timed?: readonly string[];
}

const each = (part: string, words: readonly string[]): string[] => words.map((word) => `${part}.${word}`);

/** Experiments with keys that make a run of some seconds. */
const settings: readonly { experiment: string; keys: readonly string[]; timed?: readonly string[] }[] = [
  {
    experiment: 'meanflow',
    keys: [
      'parts=[images]',
      'images={drawn: 200, network: {patchSize: 4, width: 16, depth: 1, heads: 2}, classifier: {steps: 20}, samples: 64, manySteps: 2, watch: 20}',
      ...each('images.training', ['steps=30', 'batch=8']),
    ],
    timed: ['images-cost'],
  },
  {
    experiment: 'mvar',
    keys: each('figures', ['images=256', 'validation=32', 'samples=16', 'iterations=15', 'kinds=[var, concat]', 'batch=8']),
  },
  {
    experiment: 'swin-dit',
    keys: each('fields', ['width=16', 'depth=2', 'images=50', 'samplingSteps=4', 'models=[dit, pswa]', 'training={steps: 40, batch: 8}']),
  },
  {
    experiment: 'sid',
    keys: [
      'points={width: 16, depth: 1, samples: 256, watch: [20], teacherSteps: 6}',
      ...each('points.teacher', ['steps=40', 'batch=16']),
      ...each('points.distill', ['steps=30', 'batch=16']),
    ],
  },
  {
    experiment: 'gs-jacobi',
    keys: [
      'weights=train',
      'side=8',
      'network={width: 16, headSize: 8, blocks: 2, layers: 1}',
      'training={steps: 40, batch: 8, watch: 20}',
      'metricImages=16',
      'iterations.batch=2',
      'strategies={batch: 2, names: [jacobi-10]}',
      'planner.pilots=8',
    ],
  },
  {
    experiment: 'vsa',
    keys: each('dictionary', ['heads=1', 'layers=1', 'watch=5', 'judged=1', 'sweep=[4]', 'training={steps: 10, batch: 1}']),
  },
  {
    experiment: 'magi1',
    keys: each('strip', [
      'width=16',
      'layers=1',
      'headDim=8',
      'chunks=3',
      'steps=4',
      'judged=4',
      'given=2',
      'histories=[1, 2, 3]',
      'training={steps: 40, batch: 8}',
    ]),
  },
];

const line = (command: string, { experiment, keys }: (typeof settings)[number], ...more: string[]): string[] => [
  command,
  experiment,
  'smoke',
  ...keys,
  'checkpointSeconds=0',
  ...more,
];

/** One run of every experiment. A checkpoint is written after every step, so a kill often meets one that is being written. */
export const tinyRuns: readonly TinyRun[] = settings.map((one) => ({
  name: one.experiment,
  words: line('run', one, '--threads', '1'),
  ...(one.timed && { timed: one.timed }),
}));

/** A sweep over seeds in two processes. */
export const tinySweep: TinyRun = {
  name: 'sweep',
  words: line(
    'sweep',
    settings.find(({ experiment }) => experiment === 'sid')!,
    'seed=0..2',
    '--processes',
    '2',
  ),
};
