import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose } from '../../../testkit/src/index.ts';
import { compile, jvp, tf, toTensor, useEngine, type Tensor } from '../../src/index.ts';
import { ownGradients } from '../../src/gradients/index.ts';
import { cases } from './cases.ts';
import { differences, expectDerivatives, name, type Expected } from './check.ts';
import type { Case } from './draw.ts';

const expected = new Map<Case, Expected>();

beforeAll(async () => {
  await useEngine('cpu');
  for (const at of cases) expected.set(at, differences(at));
});

/** Kernels whose derivative TensorFlow.js's `wasm` cannot compute: it lacks a kernel, or its own gives wrong numbers and is refused. */
const notOnWasm = /^(Conv2D|Conv3D|DepthwiseConv2dNative|UnsortedSegmentSum)/;

/** TensorFlow.js's `wasm` reads memory that is not its own in the forward pass of this case, and sometimes dies of it. */
const diesOnWasm = 'GatherV2: batchDims 2';

describe.each(['ort', 'cpu', 'wasm'])('derivatives on %s', (engine) => {
  beforeAll(async () => {
    await useEngine(engine);
  });

  it.each(cases.map((at) => [name(at), at] as const).filter(([title]) => engine !== 'wasm' || title !== diesOnWasm))('%s', (_, at) => {
    if (engine === 'wasm' && notOnWasm.test(at.kernel)) {
      const run = (): unknown => tf.tidy(() => tf.grads(at.f)(expected.get(at)!.xs.map(toTensor)));
      return expect(run).toThrow(/not registered for backend 'wasm'|wanted an engine with a correct derivative/);
    }
    expect(expectDerivatives(at, expected.get(at)!), `calls of the derivative of ${at.kernel}`).toBeGreaterThan(0);
  });
});

describe('DERIVATIVES.md', () => {
  const text = readFileSync(new URL('../../DERIVATIVES.md', import.meta.url), 'utf8');
  /** The kernels that a section lists, as `Kernel`. */
  const listed = (heading: string): string[] => {
    const section = text.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
    return [...new Set([...section.matchAll(/`([A-Z_]\w+)`/g)].map((match) => match[1]!))].sort();
  };
  let kernels: string[] = [];
  beforeAll(async () => {
    await useEngine('ort');
    kernels = [...new Set(['cpu', 'ort'].flatMap((engine) => tf.getKernelsForBackend(engine).map(({ kernelName }) => kernelName)))];
  });
  const own = new Set(ownGradients().map(({ kernelName }) => kernelName));
  const checked = new Set(cases.map(({ kernel }) => kernel));

  it('lists every derivative of this package, and each is checked', () => {
    expect(listed('Replaced or added')).toEqual([...own].sort());
    expect([...own].filter((kernel) => !checked.has(kernel))).toEqual([]);
  });

  it("lists every derivative of TensorFlow.js that is kept, and each is checked or can't be reached", () => {
    const kept = kernels.filter((kernel) => tf.getGradient(kernel) !== undefined && !own.has(kernel));
    const unreached = listed('Kept and not checked');
    expect([...listed('Kept and checked'), ...unreached].sort()).toEqual(kept.sort());
    expect(kept.filter((kernel) => !checked.has(kernel)).sort()).toEqual(unreached);
  });

  it('lists every kernel without a derivative', () => {
    expect(listed('Without a derivative')).toEqual(kernels.filter((kernel) => tf.getGradient(kernel) === undefined).sort());
  });
});

describe('values from reports', () => {
  beforeAll(async () => {
    await useEngine();
  });
  const gradientOf = (f: (x: Tensor) => Tensor, x: Tensor): Tensor => tf.grad((at: Tensor) => tf.sum(f(at)))(x);
  const along = (f: (x: Tensor) => Tensor, x: Tensor, direction: Tensor): Tensor => jvp((at) => f(at!), [x], [direction]).tangent;

  it('mirrorPad: [1, 2, 3] reflected by 1 is [2, 1, 2, 3, 2], so the gradient of its sum is [1, 3, 1]', () => {
    const x = tf.tensor1d([1, 2, 3]);
    const reflect = (at: Tensor): Tensor => tf.mirrorPad(at, [[1, 1]], 'reflect');
    for (const f of [reflect, compile(reflect)]) expectClose(f(x), [2, 1, 2, 3, 2]);
    expectClose(gradientOf(reflect, x), [1, 3, 1]);
    expectClose(compile((at: Tensor) => gradientOf(reflect, at))(x), [1, 3, 1]);
    expectClose(along(reflect, x, tf.tensor1d([1, 10, 100])), [10, 1, 10, 100, 10]);
    expectClose(
      gradientOf((at) => tf.mirrorPad(at, [[1, 1]], 'symmetric'), x),
      [2, 1, 2],
    );
  });

  it('max and min: equal extremes share the gradient, and the forward mode along them is 1', () => {
    for (const run of [(f: (x: Tensor) => Tensor) => f, (f: (x: Tensor) => Tensor) => compile(f)]) {
      expectClose(run((x) => gradientOf((at) => tf.max(at), x))(tf.tensor1d([3, 3, 1])), [0.5, 0.5, 0]);
      expectClose(run((x) => gradientOf((at) => tf.min(at), x))(tf.tensor1d([1, 3, 1])), [0.5, 0, 0.5]);
      expectClose(run((x) => gradientOf((at) => tf.max(at), x))(tf.tensor1d([2, 2, 2, 2])), [0.25, 0.25, 0.25, 0.25]);
      expectClose(run((x) => along((at) => tf.max(at), x, tf.tensor1d([1, 1, 0])))(tf.tensor1d([3, 3, 1])), [1]);
    }
    const pooled = gradientOf((at) => tf.maxPool(at as never, 2, 2, 'valid'), tf.tensor4d([5, 5, 5, 1], [1, 2, 2, 1]));
    expectClose(pooled.dataSync(), [1 / 3, 1 / 3, 1 / 3, 0], { abs: 1e-7 });
  });

  it('avgPool: padding does not count, so all ones have the gradient 1', () => {
    const ones = gradientOf((at) => tf.avgPool(at as never, 3, 1, 'same'), tf.ones([1, 2, 2, 1]));
    expectClose(ones.dataSync(), [1, 1, 1, 1], { abs: 1e-6 });
    const volume = gradientOf((at) => tf.avgPool3d(at as never, 3, 1, 'same'), tf.ones([1, 2, 2, 2, 1]));
    expectClose(volume.dataSync(), new Float32Array(8).fill(1), { abs: 1e-6 });
  });

  it('division keeps its range: the derivative of 1e-20 / b at 1e-25 is -1e30', () => {
    expectClose(
      gradientOf((b) => tf.div(tf.tensor1d([1e-20]), b), tf.tensor1d([1e-25])),
      [-1e30],
      { rel: 1e-5 },
    );
    expectClose(
      gradientOf((x) => tf.reciprocal(x), tf.tensor1d([1e-18])),
      [-1e36],
      { rel: 1e-5 },
    );
  });

  it('the gradient of a tile is as many operations for 1000 copies as for 2', async () => {
    const operations = async (copies: number): Promise<number> => {
      const { kernels } = await tf.profile(() => gradientOf((x) => tf.tile(x, [copies, copies, 1]), tf.ones([2, 3, 4])) as never);
      return kernels.length;
    };
    expect(await operations(100)).toBe(await operations(2));
  });
});
