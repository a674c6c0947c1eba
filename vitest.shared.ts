import { defineConfig } from 'vitest/config';

/**
 * The one vitest configuration of the workspace. Packages resolve to their sources; the native engine needs processes, not threads, and
 * one worker a package because turbo already runs packages side by side.
 */
export default defineConfig({
  resolve: { conditions: ['@atelier/source'] },
  ssr: { resolve: { conditions: ['@atelier/source'], externalConditions: ['@atelier/source'] } },
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 1,
    isolate: true,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
