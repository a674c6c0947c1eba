// `pnpm knip`: files, exports and dependencies that nothing uses.

/** @type {import('knip').KnipConfig} */
export default {
  // A type that a function of its own file takes or gives is exported for whoever wants to name it.
  ignoreExportsUsedInFile: { interface: true, type: true },
  workspaces: {
    '.': {
      entry: ['scripts/*.mjs', 'vitest.{shared,setup}.ts'],
      // What `pnpm new-paper` copies.
      ignore: ['scripts/new-paper/**'],
      // Run as a program by check-dist.
      ignoreDependencies: ['@arethetypeswrong/cli', '@atelier/experiments'], // experiments: for its command `atelier`
    },
    // Peers are programs that a bench starts.
    bench: { entry: ['*.ts', 'peers/*.ts'] },
    // Fonts are files, found with `require.resolve`.
    datasets: { ignoreDependencies: ['dejavu-fonts-ttf'] },
    experiments: {
      // Started by the tests of the queue where it is installed.
      ignoreBinaries: ['mount', 'redis-server', 'umount'],
      // The types of bundle.mjs.
      entry: ['src/**/cli.ts', 'src/page-script/run{,s}-page.ts', 'test/*-cli.ts', 'bin/*.d.mts'],
      ignoreDependencies: ['dejavu-fonts-ttf'],
    },
    // Programs of a new user, run outside of the workspace.
    'check-dist': { ignore: ['programs/**'], ignoreDependencies: ['@atelier/.*'] },
    'packages/*': { entry: ['example.ts', 'golden/make.ts'] },
    // Both are loaded by name: jasmine by the conformance suite, ONNX Runtime when the engine starts.
    'packages/backend-ort': {
      entry: ['conformance/{run,child}.ts', 'fuzz/run.ts', 'values/run.ts', 'test/*-child.ts'],
      ignoreDependencies: ['jasmine-core', 'onnxruntime-node'],
    },
    // Loaded by name when the engine is chosen.
    'packages/tensor': { entry: ['test/derivatives/audit.ts'], ignoreDependencies: ['@tensorflow/tfjs-backend-wasm'] },
  },
};
