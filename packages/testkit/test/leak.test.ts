import { tf, useEngine, type Tensor } from '@atelier/tensor';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectNoLeak } from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

describe('expectNoLeak', () => {
  it('passes where every tensor made is returned or disposed', async () => {
    const x = tf.ones([3]);
    await expectNoLeak(() => tf.tidy(() => tf.sum(tf.square(x))));
    await expectNoLeak(() => ({ loss: tf.scalar(1), parts: [tf.zeros([2]), { deep: tf.zeros([1]) }] }));
    await expectNoLeak(async () => (await tf.tidy(() => tf.add(x, 1)).data()).length, 1).then(
      () => expect.unreachable('a tensor whose data was read but which was not disposed is a leak'),
      (error: Error) => expect(error.message).toContain('(1.00 per step)'),
    );
    expect(x.isDisposed).toBe(false);
  });

  it('lets a first run fill caches', async () => {
    let table: Tensor | undefined;
    await expectNoLeak(() => {
      table ??= tf.zeros([4]);
    });
    expect(table!.isDisposed).toBe(false);
  });

  it('lets state be replaced, and finds state that is not freed', async () => {
    let state: Tensor = tf.scalar(0);
    await expectNoLeak(() => {
      const old = state;
      state = tf.tidy(() => tf.add(old, 1));
      old.dispose();
    });
    expect(state.dataSync()[0]).toBe(4);
    const step = (): void => {
      state = tf.tidy(() => tf.add(state, 1));
    };
    await expect(expectNoLeak(step, 5)).rejects.toThrow(
      /^expectNoLeak: wanted \d+ tensors after 5 steps as before them, got \d+ \(1\.00 per step\)$/,
    );
  });

  it('finds a function that disposes tensors it does not own', async () => {
    const inputs = Array.from({ length: 4 }, () => tf.scalar(1));
    await expect(expectNoLeak(() => inputs.pop()!.dispose())).rejects.toThrow('(-1.00 per step)');
  });

  it('passes errors of the function on, and refuses no steps', async () => {
    await expect(
      expectNoLeak(() => {
        throw new Error('inside');
      }),
    ).rejects.toThrow('inside');
    await expect(expectNoLeak(() => 0, 0)).rejects.toThrow('expectNoLeak: wanted a whole number of steps >= 1, got 0');
  });
});
