import { tf } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import { sequentialSampler, tarflowForward, type GuidanceOptions } from '../../src/index.ts';
import { modelOf, toNCHW } from './model.ts';

const close = { abs: 1e-4 };

/** Arguments of an official `Model.reverse`: its own names, and `_y: "none"` where no labels were given. */
type Run = [
  name: string,
  args: { guidance?: number; guide_what?: 'a' | 'b' | 'ab'; attn_temp?: number; annealed_guidance?: boolean; _y?: string },
  usesVariance: boolean,
];

/** Samples under every setting, after every block where the file has them, and the way back to the noise. */
export function reverse(file: GoldenFile, all: Golden): number {
  const { model, config } = modelOf(file, all);
  const sampler = sequentialSampler(config);
  const z = file.tensor('z');
  const runs = JSON.parse(file.metadata['runs']!) as Run[];
  for (const [name, args, usesVariance] of runs) {
    const y = file.has('y') && args._y !== 'none' ? file.tensor('y') : undefined;
    const guidance: GuidanceOptions | undefined =
      args.guidance === undefined
        ? undefined
        : { weight: args.guidance, what: args.guide_what, temperature: args.attn_temp, annealed: args.annealed_guidance };
    const used = usesVariance ? { ...model, var: file.tensor(`${name}.buffer`) } : model;
    const options = { ...(y && { y }), ...(guidance && { guidance }) };
    const { images, warnings } = sampler.sample(used, z, options);
    const steps = [...sampler.steps(used, z, options)].map((step) => step.images);
    expectClose(toNCHW(images), file.host(`${name}.image`), close, name);
    if (file.hasAny(`${name}.seq.`))
      steps.forEach((step, i) => expectClose(toNCHW(step), file.host(`${name}.seq.${i}`), close, `${name}.seq.${i}`));
    const idle = guidance !== undefined && y === undefined && (args.attn_temp ?? 1) === 1;
    if (warnings.length > 0 !== idle) throw new Error(`${name}: wanted ${idle ? 'a' : 'no'} warning, got [${warnings.join(', ')}]`);
    if (file.has(`${name}.roundtrip_z`)) {
      const back = tf.tidy(() => tarflowForward(used, images, config, y).z);
      expectClose(back, file.host(`${name}.roundtrip_z`), close, `${name}.roundtrip_z`);
    }
    tf.dispose([images, steps]);
  }
  sampler.dispose();
  return runs.length;
}
