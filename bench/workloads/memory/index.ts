import type { RepeatedWork } from '../../harness/laps.ts';
import { magi1 } from './magi1.ts';
import { meanflow } from './meanflow.ts';
import { mvar } from './mvar.ts';
import { programs } from './programs.ts';
import { sid } from './sid.ts';
import { swinDit } from './swin-dit.ts';
import { tarflow } from './tarflow.ts';
import { vsa } from './vsa.ts';

/** All works of `pnpm bench memory` by the names of their rows. */
export const repeatedWorks: Readonly<Record<string, RepeatedWork>> = {
  ...programs,
  'transformer-whole-graph': { ...programs.transformer, environment: { ATELIER_FUSED: 'off' } },
  ...meanflow,
  ...swinDit,
  ...tarflow,
  ...mvar,
  ...sid,
  ...vsa,
  ...magi1,
};
