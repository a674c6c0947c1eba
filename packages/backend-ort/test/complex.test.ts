import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { traceGraph } from '../src/compiled-graph.ts';
import type { OrtBackend } from '../src/backend.ts';
import { tf } from '../src/tf.ts';
import { expectAgreement, numbers, sample, useOrt, type Tensor } from './agree.ts';

/** The transform by its definition, in float64. */
function transform(re: number[], im: number[], sign: number): number[] {
  const n = re.length;
  return re.flatMap((_, k) => {
    let [a, b] = [0, 0];
    for (let j = 0; j < n; j++) {
      const angle = (sign * 2 * Math.PI * ((j * k) % n)) / n;
      a += re[j]! * Math.cos(angle) - im[j]! * Math.sin(angle);
      b += re[j]! * Math.sin(angle) + im[j]! * Math.cos(angle);
    }
    return [a, b];
  });
}

describe('complex tensors', () => {
  const pair = [sample([2, 3], 1), sample([2, 3], 2)];
  const z = (re: Tensor, im: Tensor): Tensor => tf.complex(re, im);

  it('agree in arithmetic, parts and moves', async () => {
    const ops: Record<string, (re: Tensor, im: Tensor) => Tensor | Tensor[]> = {
      complex: z,
      real: (re, im) => tf.real(z(re, im)),
      imag: (re, im) => tf.imag(z(re, im)),
      abs: (re, im) => tf.abs(z(re, im)),
      add: (re, im) => tf.add(z(re, im), z(im, re)),
      sub: (re, im) => tf.sub(z(re, im), re),
      mul: (re, im) => tf.mul(z(re, im), z(im, re)),
      broadcast: (re, im) => tf.mul(z(re, im), tf.complex([2], [-1])),
      reshape: (re, im) => tf.reshape(z(re, im), [3, 2]),
      concat: (re, im) => tf.concat([z(re, im), z(im, re)], 1),
      transpose: (re, im) => tf.transpose(z(re, im)),
      cast: (re, im) => [tf.cast(z(re, im), 'float32'), tf.cast(z(re, im), 'int32'), tf.cast(re, 'complex64')],
    };
    for (const f of Object.values(ops)) await expectAgreement(f, pair);
  });

  it('counts a tensor once and frees its parts', async () => {
    await useOrt();
    const ids = (tf.backend() as OrtBackend).numDataIds();
    const x = tf.complex([1, 2], [3, 4]);
    expect((tf.backend() as OrtBackend).numDataIds()).toBe(ids + 3);
    expect(Array.from(x.dataSync())).toEqual([1, 3, 2, 4]);
    x.dispose();
    expect((tf.backend() as OrtBackend).numDataIds()).toBe(ids);
  });

  it('move here from another engine', async () => {
    await useOrt();
    await tf.setBackend('cpu');
    const x = tf.complex([1, 2], [3, 4]);
    await tf.setBackend('ort');
    expect(Array.from(tf.mul(x, tf.complex(0, 1)).dataSync())).toEqual([-3, 1, -4, 2]);
  });

  it('are refused by name where there is no such kernel', async () => {
    await useOrt();
    expect(() => tf.engine().runKernel('Exp', { x: tf.complex([1], [1]) })).toThrow(
      'ort Exp: wanted float32, int32 or bool, got complex64',
    );
    expect(() => tf.engine().runKernel('FFT', { input: tf.tensor1d([1]) })).toThrow('ort FFT: wanted a complex64 tensor, got numbers');
  });

  it('live inside a compiled function, but neither enter nor leave it', async () => {
    await useOrt();
    const backend = tf.backend() as OrtBackend;
    const signature = [{ shape: [4], dtype: 'float32' }];
    const graph = traceGraph(backend, signature, ([x]) => [tf.real(tf.spectral.ifft(tf.spectral.fft(tf.complex(x!, tf.zerosLike(x!)))))], 'there and back'); // prettier-ignore
    const [y] = graph.run([tf.tensor1d([1, -2, 3, 0.5])], [false]);
    [1, -2, 3, 0.5].forEach((value, i) => expect(y!.dataSync()[i]).toBeCloseTo(value, 5));
    expect(() => traceGraph(backend, signature, ([x]) => [tf.complex(x!, x!)], 'out')).toThrow(
      'wanted dtype float32, int32 or bool, got complex64',
    );
  });
});

describe('Fourier transforms', () => {
  it('agree with the definition at every kind of length', () =>
    fc.assert(
      fc.asyncProperty(fc.constantFrom(1, 2, 3, 5, 8, 12, 60, 64, 67, 96, 100, 127, 128, 134, 210, 500, 1000, 1024), async (n) => {
        await useOrt();
        const [re, im] = [numbers(2 * n, n), numbers(2 * n, n + 1)];
        for (const sign of [-1, 1]) {
          const [got, scale] = tf.tidy(() => {
            const x = tf.complex(tf.tensor(re, [2, n]), tf.tensor(im, [2, n]));
            return sign < 0 ? [tf.spectral.fft(x).dataSync(), 1] : [tf.spectral.ifft(x).dataSync(), 1 / n];
          }) as [Float32Array, number];
          const wanted = [0, 1].flatMap((row) => transform(re.slice(row * n, row * n + n), im.slice(row * n, row * n + n), sign));
          const largest = Math.max(...wanted.map(Math.abs));
          const worst = Math.max(...wanted.map((value, i) => Math.abs(value * scale - got[i]!)));
          expect(worst / (scale * largest), `length ${n}`).toBeLessThan(2e-6);
        }
      }),
      { numRuns: 25 },
    ));

  it('refuses a length with a huge prime factor', async () => {
    await useOrt();
    const x = tf.complex(tf.zeros([4099]), tf.zeros([4099]));
    expect(() => tf.spectral.fft(x)).toThrow(
      'ort FFT: wanted a length whose prime factors are at most 4096, got 4099 with the factor 4099',
    );
  });

  it('agree on real signals', async () => {
    await expectAgreement((x) => tf.spectral.rfft(x), [sample([3, 10], 3)]);
    await expectAgreement((x) => tf.spectral.irfft(tf.spectral.rfft(x)), [sample([2, 12], 4)]);
    await expectAgreement((x) => tf.abs(tf.signal.stft(x as never, 8, 4)), [sample([40], 5)]);
  });
});
