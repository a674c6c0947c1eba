import { defineConfig } from 'vitest/config';

/** `npx vitest` at the top of the workspace and the test runner of an editor: every package with its own configuration, one after another. */
export default defineConfig({
  test: { projects: ['packages/*', 'datasets', 'experiments', 'bench', 'check-dist'], pool: 'forks', maxWorkers: 1 },
});
