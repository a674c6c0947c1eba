import { basename, join } from 'node:path';
import { defineConfig } from 'vitest/config';

/** Where `npm test` wants the report that it counts; one file a package. */
const results = process.env.ATELIER_TEST_RESULTS;

/**
 * The one vitest configuration of the workspace. Packages resolve to their sources; the native engine needs processes, not threads, and
 * one worker a package because turbo already runs packages side by side.
 */
export default defineConfig({
  resolve: { conditions: ['@atelier/source'] },
  ssr: { resolve: { conditions: ['@atelier/source'], externalConditions: ['@atelier/source'] } },
  test: {
    include: ['test/**/*.test.ts'],
    reporters:
      results === undefined ? ['default'] : ['default', ['json', { outputFile: join(results, `${basename(process.cwd())}.json`) }]],
    pool: 'forks',
    maxWorkers: 1,
    isolate: true,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
