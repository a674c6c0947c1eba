import { basename } from 'node:path';
import type { HostTensor } from '@atelier/tensor';
import { markdownText } from './markdown-text.ts';
import type { OpenedRun } from './draw.ts';

type Exported = {
  readonly inputs: Readonly<Record<string, HostTensor>>;
  readonly samples: HostTensor;
  readonly steps: number;
  readonly path: string;
  readonly bytes: number;
};

/** The model card of an exported sampler: what it is, what it was trained on, what it takes and gives, and how to run it in Python, in Node and in a page. */
export function modelCard(opened: OpenedRun, exported: Exported): string {
  const { experiment, folder, name, drawer } = opened;
  const { record } = folder;
  const { paper } = experiment;
  const file = basename(exported.path);
  return [
    `# ${experiment.name}: ${name}`,
    '',
    `A sampler of ${markdownText(paper.title)} (arXiv [${markdownText(paper.arxiv)}](https://arxiv.org/abs/${encodeURIComponent(paper.arxiv)})), made by Atelier.`,
    '',
    '| | |',
    '|---|---|',
    `| how it draws | ${markdownText(drawer.method)} |`,
    ...(drawer.steps === undefined ? [] : [`| steps in this file | ${exported.steps} |`]),
    `| trained on | ${markdownText(drawer.data)} |`,
    ...(drawer.classNames.length === 0
      ? []
      : [`| classes | ${markdownText(drawer.classNames.map((one, i) => `${i} ${one}`).join(', '))} |`]),
    `| run | ${markdownText(`${record.id}, preset ${record.preset}${record.words.length > 0 ? ` with ${record.words.join(' ')}` : ''}, seed ${record.seed}, commit ${record.commit}`)} |`,
    `| file | ${file}, ${(exported.bytes / 2 ** 20).toFixed(1)} MiB, ONNX opset 20 with operators of com.microsoft: ONNX Runtime runs it |`,
    '| licence | MIT |',
    '',
    'It is a small model for experiments. Its samples are like the data above, and nothing else.',
    '',
    '## Inputs and output',
    '',
    '| name | type | shape | values |',
    '|---|---|---|---|',
    ...Object.entries(exported.inputs).map(
      ([key, host]) => `| ${key} | ${host.dtype} | [${host.shape.join(', ')}] | ${valuesText(opened, key, exported)} |`,
    ),
    `| samples (output) | float32 | [${exported.samples.shape.join(', ')}] | ${outputText(opened)} |`,
    '',
    `The sizes are fixed. \`${file.replace('.onnx', '.example.safetensors')}\` holds inputs, and the samples that \`atelier sample\` draws from them.`,
    '',
    '## Python',
    '',
    '`pip install onnxruntime numpy`',
    '',
    '```python',
    ...pythonProgram(opened, exported, file),
    '```',
    '',
    '## Node',
    '',
    '`npm install onnxruntime-node`',
    '',
    '```js',
    "import ort from 'onnxruntime-node';",
    '',
    ...nodeProgram(opened, exported, `await ort.InferenceSession.create('${file}')`),
    'console.log(samples.dims, samples.data.slice(0, 4));',
    '```',
    '',
    '## In a page',
    '',
    'Serve the page and the file from one place.',
    '',
    '```html',
    '<script src="https://cdn.jsdelivr.net/npm/onnxruntime-web/dist/ort.min.js"></script>',
    '<script type="module">',
    ...nodeProgram(opened, exported, `await ort.InferenceSession.create('${file}')`).map((line) => (line === '' ? '' : `  ${line}`)),
    '  document.body.append(`${samples.dims}: ${samples.data.slice(0, 4)}`);',
    '</script>',
    '```',
    '',
  ].join('\n');
}

const lawOf = ({ drawer }: OpenedRun, key: string, { samples, steps }: Exported): 'normal' | 'uniform' | 'classes' =>
  drawer.noise(samples.shape[0]!, steps)[key]?.law ?? 'classes';

function valuesText(opened: OpenedRun, key: string, exported: Exported): string {
  const last = opened.drawer.classNames.length - 1;
  return { normal: 'standard normal', uniform: 'uniform in [0, 1)', classes: `numbers of classes, 0 to ${last}` }[
    lawOf(opened, key, exported)
  ];
}

function outputText({ drawer: { shape, range = [-1, 1] } }: OpenedRun): string {
  if (shape.length === 1) return 'points in the plane';
  return `${shape.length === 4 ? 'videos' : 'images'}, ${range[0]} is black and ${range[1]} is white`;
}

function pythonProgram(opened: OpenedRun, exported: Exported, file: string): string[] {
  const shape = (host: HostTensor): string => `(${host.shape.join(', ')}${host.shape.length === 1 ? ',' : ''})`;
  const value = (key: string, host: HostTensor): string =>
    ({
      normal: `rng.standard_normal(${shape(host)}, dtype=np.float32)`,
      uniform: `rng.random(${shape(host)}, dtype=np.float32)`,
      classes: `(np.arange(${host.shape[0]}) % ${opened.drawer.classNames.length}).astype(np.int32)`,
    })[lawOf(opened, key, exported)];
  return [
    'import numpy as np',
    'import onnxruntime',
    '',
    'rng = np.random.default_rng(0)',
    `session = onnxruntime.InferenceSession('${file}', providers=['CPUExecutionProvider'])`,
    'inputs = {',
    ...Object.entries(exported.inputs).map(([key, host]) => `    '${key}': ${value(key, host)},`),
    '}',
    "samples, = session.run(['samples'], inputs)",
    'print(samples.shape, samples.min(), samples.max())',
  ];
}

/** The same in JavaScript, up to a tensor `samples`. */
function nodeProgram(opened: OpenedRun, exported: Exported, session: string): string[] {
  const laws = Object.keys(exported.inputs).map((key) => lawOf(opened, key, exported));
  const value = (key: string, { shape }: HostTensor): string => {
    const size = shape.reduce((a, b) => a * b, 1);
    const made = {
      normal: `Float32Array.from({ length: ${size} }, normal)`,
      uniform: `Float32Array.from({ length: ${size} }, Math.random)`,
      classes: `Int32Array.from({ length: ${size} }, (_, i) => i % ${opened.drawer.classNames.length})`,
    }[lawOf(opened, key, exported)];
    return `  ${key}: new ort.Tensor('${lawOf(opened, key, exported) === 'classes' ? 'int32' : 'float32'}', ${made}, [${shape.join(', ')}]),`;
  };
  return [
    ...(laws.includes('normal')
      ? ['const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());']
      : []),
    `const session = ${session};`,
    'const { samples } = await session.run({',
    ...Object.entries(exported.inputs).map(([key, host]) => value(key, host)),
    '});',
  ];
}
