import { basename, join } from 'node:path';
import { defineConfig, type ViteUserConfig } from 'vitest/config';

/** Where `npm test` wants the report that it counts; one file per package. */
const results = process.env.ATELIER_TEST_RESULTS;

/**
 * The one configuration of the tests of a package, which the `vitest.config.ts` in its folder asks for, so that `npx vitest` in the folder, at the
 * top of the workspace and in an editor all do the same. Packages resolve to their sources; the native engine needs processes, not threads, and
 * one worker per package because turbo already runs packages side by side.
 */
export const testsOf = (folder: string): ViteUserConfig =>
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
      maxWorkers: 1,
      isolate: true,
      testTimeout: 120_000,
      hookTimeout: 120_000,
    },
  });
