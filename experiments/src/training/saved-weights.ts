import { disposeTree, type Tree } from '@atelier/tensor';
import { StopError } from '../runner/errors.ts';
import type { Checkpoints } from '../runner/experiment.ts';

/** The trees of the state of `trainNetwork` that it may return: the averaged weights, or the last ones. */
const RETURNED = ['state.average', 'state.params'] as const;

/**
 * The weights that a finished stage of training ended with, as new tensors.
 *
 * @param init makes weights of the same structure, which are disposed
 * @param trees where in the checkpoint they may be; the first that is there counts. By default what `trainNetwork` returned
 * @throws StopError if there is no such checkpoint, or it holds weights of another shape
 */
export async function savedWeights<P extends Tree>(
  checkpoints: Checkpoints,
  stage: string,
  init: () => P,
  trees: readonly string[] = RETURNED,
): Promise<P> {
  const found = await checkpoints.load(stage);
  if (found === null) throw new StopError(`checkpoint '${stage}': wanted one in the folder of the run, got none`);
  const names = Object.keys(found.tensors);
  const tree = trees.find((one) => names.some((name) => name.startsWith(`${one}.`)));
  if (tree === undefined) throw new StopError(`checkpoint '${stage}': wanted weights at ${trees.join(' or ')}, got none`);
  const like = init();
  try {
    return found.tree(tree, like);
  } finally {
    disposeTree(like);
  }
}
