import { shown } from '@atelier/tensor';
import { StopError } from '../runner/errors.ts';

/** Part `index` (from 1) of `count` parts. */
export interface Shard {
  readonly index: number;
  readonly count: number;
}

/** `2/4` as the second of four parts. @throws StopError for anything else */
export function parseShard(text: string | number): Shard {
  const [, index, count] = /^(\d{1,6})\/(\d{1,6})$/.exec(String(text)) ?? [];
  const shard = { index: Number(index), count: Number(count) };
  if (index === undefined || shard.index < 1 || shard.index > shard.count)
    throw new StopError(`--shard: wanted i/n with 1 <= i <= n, such as 2/4, got ${shown(text)}`);
  return shard;
}

/** What belongs to one part: every count-th item. The parts are disjoint, and all together are the whole. */
export const ofShard = <T>(items: readonly T[], { index, count }: Shard): T[] => items.filter((_, i) => i % count === index - 1);
