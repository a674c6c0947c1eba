import { mergeConfig } from 'vitest/config';
import { testsOf } from '../vitest.shared.ts';

// npm install and the build of a page take their time on a slow machine.
export default mergeConfig(testsOf(import.meta.dirname), { test: { testTimeout: 900_000, hookTimeout: 900_000 } });
