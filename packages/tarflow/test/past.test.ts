import { parseConfig, Rng, type Tensor, tf, useEngine } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { conditioner, initTarFlow, tarflowConfig, tokenContext } from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

const settings = { imageSize: [6, 8] as [number, number], patchSize: 2, width: 8, headSize: 4, blocks: 1, layers: 2 };
const config = parseConfig(tarflowConfig, settings, 'test');

describe('the conditioner on a segment', () => {
  const rng = new Rng(2);
  const model = () => initTarFlow(rng.child('model'), settings);
  const cut = (x: Tensor, from: number, to: number): Tensor => tf.slice(x, [0, from, 0], [x.shape[0]!, to - from, -1]);

  it('with a cache of earlier tokens gives the same as the whole sequence, for any start and any padding in front', () => {
    const p = { ...model().blocks[0]!, proj_out: { weight: rng.child('out').normal([24, 8]), bias: tf.zeros([24]) } };
    const [B, T, D] = [2, 12, 12];
    const x = rng.child('x').normal([B, T, D]);
    const context = tokenContext(p, 0);
    const whole = conditioner(p, x, config, { context });
    for (const [from, to] of [
      [1, 2],
      [4, 9],
      [7, 12],
    ] as const) {
      const before = conditioner(p, cut(x, 0, from), config, { context: cut(context, 0, from) });
      for (const room of [0, 3]) {
        const pad = (leaf: Tensor): Tensor => tf.concat([tf.fill([B, 2, room, 4], 9), leaf], 2);
        const past = { keys: before.keys.map(pad), values: before.values.map(pad) };
        const seen = room === 0 ? {} : { seen: tf.scalar(from, 'int32') };
        const out = conditioner(p, cut(x, from, to), config, { context: cut(context, from, to), past, ...seen });
        expectClose(out.alpha, cut(whole.alpha, from, to), { abs: 1e-5 }, `alpha ${from} … ${to}, room ${room}`);
        expectClose(out.mu, cut(whole.mu, from, to), { abs: 1e-5 }, `mu ${from} … ${to}, room ${room}`);
        expect(out.keys[0]!.shape).toEqual([B, 2, to - from, 4]);
      }
    }
  });
});
