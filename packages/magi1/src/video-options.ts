import { checkNumber, dims, parseConfig, tf, type Tensor } from '@atelier/tensor';
import type { CallKind, Prompt } from './call.ts';
import { chunkPlan, type ChunkPlan, type ScheduleSettings } from './chunk-schedule.ts';
import { guidanceConfig, type Guidance, type GuidanceSettings } from './guidance.ts';
import type { ChunkSources } from './transport.ts';

/** One prompt for the whole video, one for each chunk, or a function that is called when a chunk enters the window. The caller still owns their tensors. */
export type Prompts = Prompt | readonly Prompt[] | ((chunk: number) => Prompt);

/** How a video is made. */
export type VideoOptions = {
  schedule: ScheduleSettings;
  prompts: Prompts;
  /** `guided` for a base network, `distilled` for a student of shortcut distillation; `guided` if absent. */
  kind?: CallKind;
  /** Scales of guidance, by the time of a chunk; only for `guided`. */
  guidance?: GuidanceSettings;
  /** Given frames [B, prefixFrames, H, W, C]: one for image to video, more to go on with a video. */
  prefix?: Tensor;
  /** How given frames inside a denoised chunk come out (`ChunkSources`): a little changed (`official`), or unchanged (`exact`). `official` if absent. */
  pin?: ChunkSources['pin'];
  /** Whether extra chunks fill the last windows, so that these need no other graphs; false if absent. */
  fillWindow?: boolean;
  /**
   * Only for `distilled`: from t = 0.3 on, the weight of the velocity that the oldest chunk has without earlier chunks (Eq. 10); 0.3 if absent. With
   * 0 it is not computed.
   */
  aloneWeight?: number;
};

/** Checked options with all defaults filled in, and the plan of the schedule. Prompts and given frames are not included. */
export type CheckedVideo = {
  plan: ChunkPlan;
  kind: CallKind;
  guidance: Guidance;
  pin: ChunkSources['pin'];
  fillWindow: boolean;
  aloneWeight: number;
};

/** Checks the options and fills in the defaults. @throws Error that names the option, or the settings of the schedule, that do not fit */
export function checkVideo(options: Omit<VideoOptions, 'prompts'>): CheckedVideo {
  const where = 'videoStream';
  const plan = chunkPlan(options.schedule);
  const { kind = 'guided', pin = 'official', fillWindow = false, aloneWeight = 0.3, guidance = {}, prefix } = options;
  if (kind !== 'guided' && kind !== 'distilled') throw new Error(`${where}: kind: wanted 'guided' or 'distilled', got '${String(kind)}'`);
  if (pin !== 'official' && pin !== 'exact') throw new Error(`${where}: pin: wanted 'official' or 'exact', got '${String(pin)}'`);
  if (plan.mixed !== undefined && kind === 'guided')
    throw new Error(`${where}: schedule: wanted a uniform grid for a guided network, got the mixed grid '${plan.mixed}'`);
  if (plan.prefixFrames > 0 !== (prefix !== undefined))
    throw new Error(`${where}: prefix: wanted ${plan.prefixFrames} frames, got ${prefix?.shape[1] ?? 'none'}`);
  checkNumber(`${where}: aloneWeight`, aloneWeight, { min: 0, max: 1 });
  return { plan, kind, guidance: parseConfig(guidanceConfig, guidance, `${where}: guidance`), pin, fillWindow, aloneWeight };
}

/**
 * Noise, prompts and given frames of a video. Prompts are copied, so that the stream owns what it holds; noise that does not fit is freed.
 *
 * @throws Error if given frames or a list of prompts do not fit; later also for noise and prompts of a chunk
 */
export function sourcesOf(
  noise: (chunk: number) => Tensor,
  { prompts, prefix }: Pick<VideoOptions, 'prompts' | 'prefix'>,
  { plan, pin, fillWindow }: CheckedVideo,
  sizes: { channels: number; captionChannels: number },
): ChunkSources {
  const known: Record<string, number> = { C: sizes.channels, c: plan.chunkFrames };
  if (prefix) {
    const { prefixFrames } = plan;
    const { B, H, W } = dims<'B' | 'H' | 'W'>(prefix, 'B prefixFrames H W C', 'videoStream: prefix', { prefixFrames, C: sizes.channels });
    Object.assign(known, { B, H, W });
  }
  return {
    noise: (chunk) => {
      const z = noise(chunk);
      try {
        Object.assign(known, dims(z, 'B c H W C', `videoStream: noise of chunk ${chunk}`, known));
      } catch (error) {
        tf.dispose(z);
        throw error;
      }
      return z;
    },
    prompt: promptsOf(prompts, plan, sizes.captionChannels),
    prefix,
    pin,
    fillWindow,
  };
}

function promptsOf(prompts: Prompts, plan: ChunkPlan, captionChannels: number): (chunk: number) => Prompt {
  if (Array.isArray(prompts) && prompts.length < plan.chunks)
    throw new Error(`videoStream: prompts: wanted one for each of ${plan.chunks} chunks, got ${prompts.length}`);
  const of = (chunk: number): Prompt => {
    if (typeof prompts === 'function') return prompts(chunk);
    return Array.isArray(prompts) ? (prompts as Prompt[])[chunk]! : (prompts as Prompt);
  };
  let known: Record<string, number> = { Y: captionChannels };
  return (chunk) => {
    const { features, mask } = of(chunk);
    const { B, L } = dims<'B' | 'L'>(features, 'B L Y', `videoStream: prompt of chunk ${chunk}`, known);
    known = { ...known, B, L };
    dims(mask, 'B L', `videoStream: mask of the prompt of chunk ${chunk}`, { B, L });
    return { features: features.clone(), mask: mask.clone() };
  };
}
