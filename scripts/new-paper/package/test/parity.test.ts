import { paritySuite } from '@atelier/testkit/vitest';
import { denoiser } from './parity/denoiser.ts';

// One line for each kind of file: the beginning of its name, and the function that compares it.
paritySuite('__SLUG__', { denoiser });
