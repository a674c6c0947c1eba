import { basename, join } from 'node:path';
import { defineConfig, type ViteUserConfig } from 'vitest/config';

/** Where `npm test` wants the report that it counts; one file per package. */
const results = process.env.ATELIER_TEST_RESULTS;

/**
 * The one configuration of the tests of a package, which the `vitest.config.ts` in its folder asks for, so that `npx vitest` in the folder, at the
 * top of the workspace and in an editor all do the same. Packages resolve to their sources; the native engine needs processes, not threads, and
 * one worker per package because turbo already runs packages side by side. The files of a package share one process, so that TensorFlow.js is loaded
 * once, unless a package asks for `isolate`, because its tests count what is in the process or change its environment.
 */
export const testsOf = (folder: string, { isolate = false, maxWorkers = 1 } = {}): ViteUserConfig =>
  defineConfig({
    resolve: { conditions: ['@atelier/source'] },
    ssr: { resolve: { conditions: ['@atelier/source'], externalConditions: ['@atelier/source'] } },
    test: {
      root: folder,
      include: ['test/**/*.test.ts'],
      env: { ATELIER_TEST_FOLDER: folder },
      setupFiles: [join(import.meta.dirname, 'vitest.setup.ts')],
      reporters: results === undefined ? ['default'] : ['default', ['json', { outputFile: join(results, `${basename(folder)}.json`) }]],
      pool: 'forks',
      maxWorkers,
      isolate,
      testTimeout: 120_000,
      hookTimeout: 120_000,
    },
  });
