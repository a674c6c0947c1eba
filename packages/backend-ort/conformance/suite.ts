/**
 * Runs TensorFlow.js's own test suite against a backend: bundles `@tensorflow/tfjs-core/dist/tests.js` (its deep imports have no file
 * endings, so Node can't load it as it is) and runs it under jasmine in this process.
 */
import { createRequire } from 'node:module';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';

export interface SpecResult {
  /** What is described, without the name of the backend. */
  group: string;
  /** What it should do. */
  name: string;
  status: 'passed' | 'failed' | 'pending' | 'excluded';
  /** First failure. */
  message?: string;
}

const load = createRequire(import.meta.url);

/** Where tfjs-core's files lie. */
const coreFolder = (): string => {
  const tfjs = dirname(load.resolve('@tensorflow/tfjs/package.json'));
  return join(dirname(createRequire(join(tfjs, 'package.json')).resolve('@tensorflow/tfjs-core/package.json')), 'dist');
};

async function bundle(folder: string): Promise<string> {
  const core = coreFolder();
  const cpu = dirname(createRequire(join(core, '..', '..', 'tfjs', 'package.json')).resolve('@tensorflow/tfjs-backend-cpu/package.json'));
  const here = dirname(new URL(import.meta.url).pathname);
  // One instance of tfjs-core for the suite, the reference backend and ours.
  const shim = join(folder, 'tfjs.js');
  writeFileSync(
    shim,
    [
      `export * from '${core}/index.js';`,
      `import '${core}/register_all_gradients.js';`,
      `import '${core}/public/chained_ops/register_all_chained_ops.js';`,
    ].join('\n'),
  );
  const entry = join(folder, 'entry.js');
  writeFileSync(
    entry,
    [
      `import { registerTestEnv } from '${core}/jasmine_util.js';`,
      `import '${shim}';`,
      `import '${cpu}/dist/index.js';`,
      `import { registerOrt } from '${join(here, '..', 'src', 'register.ts')}';`,
      `registerOrt();`,
      `registerTestEnv({ name: process.env.ATELIER_CONFORMANCE_BACKEND ?? 'ort', backendName: process.env.ATELIER_CONFORMANCE_BACKEND ?? 'ort', isDataSync: true });`,
    ].join('\n'),
  );
  const first = join(folder, 'first.js');
  writeFileSync(first, `import '${entry}';\nimport '${core}/tests.js';\n`);
  const outfile = join(folder, 'suite.cjs');
  await build({
    entryPoints: [first],
    bundle: true,
    // tfjs-core declares most of its files free of side effects; test files are nothing else.
    ignoreAnnotations: true,
    platform: 'node',
    format: 'cjs',
    outfile,
    external: ['jasmine-core', 'onnxruntime-node', 'node-fetch'],
    define: { 'import.meta.url': JSON.stringify(import.meta.url) },
    alias: { '@tensorflow/tfjs': shim, '@tensorflow/tfjs-core': join(core, 'index.js') },
    nodePaths: [join(here, '..', 'node_modules')],
    logLevel: 'error',
    loader: { '.ts': 'ts' },
  });
  return outfile;
}

/** Runs every spec whose full name contains `filter`. */
export async function runSuite(backend: string, filter = ''): Promise<SpecResult[]> {
  process.env.ATELIER_CONFORMANCE_BACKEND = backend;
  const here = dirname(new URL(import.meta.url).pathname);
  const folder = mkdtempSync(join(here, '.bundle-'));
  try {
    const file = await bundle(folder);
    const jasmine = (load('jasmine-core') as { boot(module: unknown): { getEnv(): JasmineEnv } }).boot(
      load('jasmine-core/lib/jasmine-core/jasmine.js'),
    );
    const env = jasmine.getEnv();
    const results: SpecResult[] = [];
    env.configure({
      random: false,
      hideDisabled: true,
      specFilter: (spec: { getFullName(): string }) => spec.getFullName().includes(filter),
    });
    env.addReporter({
      specDone: ({ fullName, description, status, failedExpectations }) => {
        if (status === 'excluded') return;
        const group = fullName
          .slice(0, fullName.length - description.length)
          .replaceAll(` ${backend} {}`, '')
          .trim();
        results.push({
          group,
          name: description,
          status,
          ...(failedExpectations.length > 0 ? { message: failedExpectations[0]!.message } : {}),
        });
      },
    });
    await import(pathToFileURL(file).href);
    await env.execute();
    return results;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface JasmineEnv {
  configure(options: object): void;
  addReporter(reporter: {
    specDone(result: {
      fullName: string;
      description: string;
      status: SpecResult['status'];
      failedExpectations: { message: string }[];
    }): void;
  }): void;
  execute(): Promise<unknown>;
}
