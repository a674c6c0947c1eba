import { compile, flattenTree, tf } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import { initTraining, tarflowSchedule, trainingStep } from '../../src/index.ts';
import { modelOf, toNHWC } from './model.ts';

/** Learning rates, losses and all parameters after the official steps, compiled. */
export function trainingSteps(file: GoldenFile, all: Golden): number {
  const { model, config } = modelOf(file, all);
  const schedule = file.metadata['schedule']!;
  const setting = (name: string): number => {
    const found = new RegExp(`${name}=([0-9.e+-]+)`).exec(schedule);
    if (found === null) throw new Error(`${file.name}: wanted ${name} in '${schedule}'`);
    return Number(found[1]);
  };
  const rate = tarflowSchedule({
    warmUpSteps: setting('warmup_steps'),
    totalSteps: setting('total_steps'),
    min: setting('min_lr'),
    max: setting('max_lr'),
  });
  const rates = file.host('lrs');
  expectClose(
    Array.from(rates.data, (_, step) => rate(step)),
    rates,
    { rel: 1e-6 },
    'lrs',
  );
  const step = compile(trainingStep(config, Number(file.setting('sigma'))), { donate: [0] });
  let state = initTraining(model);
  const losses: number[] = [];
  for (let i = 0; file.has(`x.${i}`); i++) {
    const batch = { x: toNHWC(file.tensor(`x.${i}`)), noise: toNHWC(file.tensor(`eps.${i}`)), y: file.tensor(`y.${i}`) };
    const out = step(state, batch, tf.scalar(rate(i)));
    losses.push(out.loss.dataSync()[0]!);
    state = out.state;
  }
  step.dispose();
  expectClose(losses, file.host('losses'), { abs: 1e-5 }, 'losses');
  const after = flattenTree(state.params);
  const keys = file.keys('after.');
  for (const key of keys) {
    const name = key.slice('after.'.length);
    const [ours, theirs] = [after[name]!, file.tensor(key)];
    // The gradient of the key biases is zero but for rounding, which Adam turns into steps of its own: not compared.
    const compared = name.endsWith('.qkv.bias') ? [ours, theirs].map((bias) => withoutKeys(bias, config.width)) : [ours, theirs];
    expectClose(compared[0]!, compared[1]!, { abs: 1e-5 }, name);
  }
  return keys.length;
}

const withoutKeys = (bias: tf.Tensor, W: number) => tf.concat([tf.slice(bias, [0], [W]), tf.slice(bias, [2 * W], [W])]);
