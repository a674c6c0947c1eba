import { tf } from '@atelier/tensor';

/**
 * Runs `fn` once to fill caches, then `steps` times, and compares the number of tensors in memory. This check owns the tensors that `fn` returns (one, or
 * a tree) and disposes them after each run. State that must live longer must not be returned.
 * @throws Error that says how many tensors each step leaves behind (or disposes although it did not make them).
 */
export async function expectNoLeak(fn: () => unknown, steps = 3): Promise<void> {
  if (!Number.isSafeInteger(steps) || steps < 1) throw new Error(`expectNoLeak: wanted a whole number of steps >= 1, got ${steps}`);
  const run = async (): Promise<void> => {
    const returned = await fn();
    if (returned !== null && typeof returned === 'object') tf.dispose(returned as never);
  };
  await run();
  const before = tf.memory().numTensors;
  for (let i = 0; i < steps; i++) await run();
  const after = tf.memory().numTensors;
  if (after !== before) {
    throw new Error(
      `expectNoLeak: wanted ${before} tensors after ${steps} steps as before them, got ${after} (${((after - before) / steps).toFixed(2)} per step)`,
    );
  }
}
