import { useEngine } from '@atelier/tensor';
import { expect, it } from 'vitest';
import { checkAgreement, type Work } from '../harness/work.ts';
import { attentionForward, attentionGradient, blocksForward, blocksJvp, blocksStep, mlpStep, product } from '../workloads/engine.ts';
import { meanFlowWork } from '../workloads/meanflow.ts';
import { sidWork } from '../workloads/sid.ts';
import { blockWork } from '../workloads/swin-dit.ts';
import { tarflowWork } from '../workloads/tarflow.ts';
import { videoWorks } from '../workloads/vsa.ts';

const size = [2, 6, 8, 2, 2] as const;
const block = { width: 8, heads: 2, windowHeads: 1, window: 2 };
const tarflow = { imageSize: 4, patchSize: 2, width: 8, headSize: 4, blocks: 2, layers: 1, numClasses: 2 };
const video = { grid: [4, 8, 8], heads: 2, width: 4, keep: 2 } as const;
const works: Record<string, () => Work> = {
  'blocks, training step': () => blocksStep(size),
  'blocks, forward': () => blocksForward(size),
  'blocks, directional derivative': () => blocksJvp(size),
  'MLP, training step': () => mlpStep(8),
  'attention, forward': () => attentionForward([2, 2, 6, 4]),
  'attention, gradients': () => attentionGradient([2, 2, 6, 4]),
  'matrix product': () => product(16),
  'MeanFlow step of the MLP': () => meanFlowWork('mlp'),
  'SiD iteration': sidWork,
  'DiT block, gradients': () => blockWork('dit', 2, 4, block),
  'TarFlow, sample': () => tarflowWork('test', { settings: tarflow, batch: 2, ratedBlocks: 1 }),
  'sparse attention, fine stage': () => videoWorks(video).fine,
  'sparse attention': () => videoWorks(video).whole,
  'sparse attention, gradients': () => videoWorks(video).fineGradient,
  'PSWA block, gradients': () => blockWork('pswa', 2, 4, block),
};

// A peer must get the same numbers. So they must be equal on every engine, and equal each time.
it.each(Object.entries(works))('%s: the same check numbers on two engines, and when asked again', async (name, make) => {
  await useEngine('cpu');
  const expected = await make().check();
  expect(expected.every((figure) => Number.isFinite(figure) && figure !== 0)).toBe(true);
  await useEngine('ort');
  const work = make();
  const figures = await work.check();
  checkAgreement(name, figures, expected);
  await work.step();
  checkAgreement(name, await work.check(), figures, 0);
});
