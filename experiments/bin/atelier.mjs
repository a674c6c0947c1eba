#!/usr/bin/env node
// `atelier`: bundles the command line and the packages of the workspace from their sources, and runs the bundle. esbuild needs a fraction of a second for
// this. Loading some hundred TypeScript files one by one takes several seconds.
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const experiments = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Our own packages go into the bundle. All others are loaded from the place where the importing package finds them. */
const others = {
  name: 'others',
  setup(bundle) {
    bundle.onResolve({ filter: /^[^./]/ }, async ({ path, importer, resolveDir, kind, pluginData }) => {
      if (pluginData === 'seen' || path.startsWith('node:') || path.startsWith('@atelier/') || kind === 'entry-point') return undefined;
      const found = await bundle.resolve(path, { importer, resolveDir, kind, pluginData: 'seen' });
      if (found.errors.length > 0) return { path, external: true };
      return {
        path: found.path.startsWith('/') || /^[A-Z]:\\/i.test(found.path) ? pathToFileURL(found.path).href : found.path,
        external: true,
      };
    });
    // Files find what lies beside them by `import.meta`, which would be that of the bundle.
    bundle.onLoad({ filter: /\.ts$/ }, ({ path }) => ({
      loader: 'ts',
      contents: readFileSync(path, 'utf8')
        .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href))
        .replaceAll('import.meta.dirname', JSON.stringify(dirname(path))),
    }));
  },
};

const folder = join(experiments, 'node_modules', '.cache', `atelier-${process.pid}`);
mkdirSync(folder, { recursive: true });
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
await build({
  entryPoints: [join(experiments, 'src', 'cli.ts')],
  outdir: folder,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  conditions: ['@atelier/source'],
  sourcemap: 'inline',
  logLevel: 'silent',
  plugins: [others],
});
await import(pathToFileURL(join(folder, 'cli.mjs')).href);
