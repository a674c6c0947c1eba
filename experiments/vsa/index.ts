import { defineExperiment } from '../src/runner/experiment.ts';
import { claims } from './claims.ts';
import { configSchema, type Config } from './config.ts';
import { drawers } from './drawers.ts';
import { runDictionary } from './dictionary.ts';
import { claimDictionary, drawDictionary } from './dictionary-findings.ts';
import { runGlyphs } from './glyphs.ts';
import { curve } from './methods.ts';
import { presets } from './presets.ts';
import { runSpeed } from './speed.ts';

/** Sparse attention beside full, local and random attention on videos whose copies must be found, and on moving letters in pixels. */
export const vsa = defineExperiment<Config>({
  name: 'vsa',
  paper: { slug: 'vsa', title: 'VSA: Faster Video Diffusion with Trainable Sparse Attention', arxiv: '2505.13389' },
  title: 'Trainable sparse attention beside full attention',
  schema: configSchema,
  presets,
  claims,
  curve,
  drawers,
  tour: { preset: 'tour', shows: 'attention that learns which tiles of a video to look at', figure: 'errors' },
  async run(context) {
    const { parts } = context.config;
    if (parts.includes('dictionary')) {
      const findings = await runDictionary(context);
      await drawDictionary(context, findings);
      await claimDictionary(context, findings);
    }
    if (parts.includes('glyphs')) await runGlyphs(context);
    if (parts.includes('speed')) await runSpeed(context);
  },
});
