import { gsJacobi } from '../gs-jacobi/index.ts';
import { meanflow } from '../meanflow/index.ts';
import { magi1 } from '../magi1/index.ts';
import { mvar } from '../mvar/index.ts';
import { sid } from '../sid/index.ts';
import { swinDit } from '../swin-dit/index.ts';
import { vsa } from '../vsa/index.ts';
import type { Experiment } from './runner/experiment.ts';

/** All experiments, in the order of `atelier list`. */
export const experiments: readonly Experiment[] = [meanflow, mvar, swinDit, sid, gsJacobi, vsa, magi1];
