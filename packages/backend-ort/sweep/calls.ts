import { shaped } from './images.ts';
import { plain, type Call } from './table.ts';

/** All calls of the sweep. */
export const calls: readonly Call[] = [...plain, ...shaped];
