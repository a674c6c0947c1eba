import { mean } from 'd3-array';
import { defineExperiment, type RunContext } from '../src/runner/experiment.ts';
import { claims } from './claims.ts';
import { configSchema, type Config } from './config.ts';
import { drawers } from './drawers.ts';
import { runGlyphs } from './glyphs.ts';
import { curve } from './methods.ts';
import { presets } from './presets.ts';
import { runStrip, type StripFindings } from './strip.ts';

/** MAGI-1 on small videos: a bump that walks along a strip, and moving letters. */
export const magi1 = defineExperiment<Config>({
  name: 'magi1',
  paper: { slug: 'magi1', title: 'MAGI-1: Autoregressive Video Generation at Scale', arxiv: '2505.13211' },
  title: 'Video chunk by chunk, each at its own noise',
  schema: configSchema,
  presets,
  claims,
  curve,
  drawers,
  tour: { preset: 'smoke', shows: 'videos of a walking bump, continued chunk by chunk', figure: 'strip' },
  async run(context) {
    const { parts } = context.config;
    if (parts.includes('strip')) await claimStrip(context, await runStrip(context));
    if (parts.includes('glyphs') || parts.includes('stream')) {
      const { switched, moving } = await runGlyphs(context);
      if (switched !== undefined) await context.claim('prompt-switch', switched);
      if (moving !== undefined) await context.claim('long-stream', moving);
    }
  },
});

const listed = (values: readonly number[]): string => values.map((value) => value.toFixed(4)).join(', ');

async function claimStrip(context: RunContext<Config>, { window, detached, distilled }: StripFindings): Promise<void> {
  const { strip } = context.config;
  if (window.length === 0) return;
  const over = (of: (judged: StripFindings['window'][number]) => number): number[] => window.map(of);
  const longest = String(Math.max(...strip.histories));
  const at = (range: string): number => mean(over(({ history }) => history[range]!))!;
  const [one, two, all, image] = [at('1'), at('2'), at(longest), mean(over((judged) => judged.image))!];
  await context.claim(
    'v2v',
    all / image,
    `${listed(over(({ history }) => history[longest]!))} against ${listed(over((judged) => judged.image))}`,
  );
  const ranges = strip.histories.map((range) => `range ${range}: ${listed(over(({ history }) => history[String(range)]!))}`).join('; ');
  await context.claim('history', one / two, ranges);
  await context.claim('longer-history', (two - all) / (one - two), ranges);
  if (detached.length > 0)
    await context.claim(
      'detached',
      mean(detached)! / all,
      `${listed(detached)} against ${listed(over(({ history }) => history[longest]!))}`,
    );
  for (const [i, id] of ['guidance-error', 'guidance-peak'].entries()) {
    const [early, always] = [over(({ guided }) => guided.early[i]!), over(({ guided }) => guided.always[i]!)];
    await context.claim(
      id,
      mean(early)! / mean(always)!,
      `${listed(early)} against ${listed(always)}; true peak ${window[0]!.truePeak.toFixed(3)}`,
    );
  }
  const [first, last] = [over(({ byChunk }) => byChunk[0]!), over(({ byChunk }) => byChunk.at(-1)!)];
  await context.claim('later-chunks', mean(last)! / mean(first)!, `${listed(last)} against ${listed(first)}`);
  const sequential = over((judged) => judged.sequential);
  await context.claim('pipeline-quality', all / mean(sequential)!, `one chunk at a time ${listed(sequential)}`);
  const fresh = strip.chunks - Math.floor(strip.given / strip.chunkFrames);
  const [pipelined, alone] = window[0]!.forwards;
  await context.claim(
    'forwards',
    pipelined / alone / ((fresh + strip.window - 1) / (strip.window * fresh)),
    `${pipelined} against ${alone}`,
  );
  if (distilled) await context.claim('distillation', distilled.student / distilled.teacher, listed([distilled.student, distilled.teacher]));
}
