import { paritySuite } from '@atelier/testkit/vitest';
import { attentions } from './parity/attention.ts';
import { layouts } from './parity/layout.ts';
import { choices, fineLists } from './parity/lists.ts';
import { schedules } from './parity/schedule.ts';
import { wanBlocks, wanModels } from './parity/wan.ts';

paritySuite('vsa', {
  tile_indices: layouts,
  topk: choices,
  fine_lists: fineLists,
  attn_: attentions,
  sparsity_schedule: schedules,
  wan_block: wanBlocks,
  wan_model: wanModels,
});
