// Bundles a program of the workspace with the packages that it needs, from their sources. Loading some hundred TypeScript files one by one takes several seconds.
// The bundle is kept as long as no source changes.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const experiments = join(dirname(fileURLToPath(import.meta.url)), '..');
const workspace = join(experiments, '..');
const cache = join(experiments, 'node_modules', '.cache', 'atelier');

/**
 * What is loaded as it is: packages with native parts, and TensorFlow.js, of which there must be one copy in the process. Everything else goes into the bundle,
 * because Node takes longer for a hundred small modules than for a large one.
 */
const APART = /^(@tensorflow\/|onnxruntime-|@resvg\/|playwright-core|esbuild|dejavu-fonts-ttf|bullmq|ioredis)/;
const others = {
  name: 'others',
  setup(esbuild) {
    esbuild.onResolve({ filter: APART }, ({ path, resolveDir, kind }) => {
      try {
        const file = createRequire(join(resolveDir, 'from')).resolve(path);
        // Node gives `import()` the names of a package that was written for `require`; esbuild gives it only the default.
        return kind === 'dynamic-import' ? { path: pathToFileURL(file).href, external: true } : { path: file, namespace: 'apart' };
      } catch {
        return { path, external: true };
      }
    });
    esbuild.onResolve({ filter: /.*/, namespace: 'apart' }, ({ path }) => ({ path, external: true }));
    esbuild.onLoad({ filter: /.*/, namespace: 'apart' }, ({ path }) => ({
      loader: 'js',
      contents: `module.exports = require(${JSON.stringify(path)});`,
    }));
    // Files find what lies beside them by `import.meta`, which would be that of the bundle.
    esbuild.onLoad({ filter: /\.ts$/ }, ({ path }) => ({
      loader: 'ts',
      contents: readFileSync(path, 'utf8')
        .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href))
        .replaceAll('import.meta.dirname', JSON.stringify(dirname(path))),
    }));
  },
};

/** A name for the sources as they are: their paths, sizes and times of change. The bundle holds absolute paths, so the workspace's own path is part of it. */
function nameOfSources(entry) {
  const hash = createHash('sha256').update(
    `${entry} ${workspace} ${process.version} ${stamp(fileURLToPath(import.meta.url))} ${stamp(join(workspace, 'pnpm-lock.yaml'))}`,
  );
  const packages = readdirSync(join(workspace, 'packages')).map((name) => join(workspace, 'packages', name));
  for (const folder of [experiments, join(workspace, 'bench'), join(workspace, 'datasets'), ...packages]) {
    for (const path of sourcesIn(folder)) hash.update(`\n${path} ${stamp(path)}`);
  }
  return hash.digest('hex').slice(0, 16);
}

function stamp(path) {
  const { size, mtimeMs } = statSync(path);
  return `${size} ${mtimeMs}`;
}

function sourcesIn(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return ['node_modules', 'dist', 'golden', '.turbo'].includes(entry.name) ? [] : sourcesIn(path);
    return entry.name.endsWith('.ts') || entry.name === 'package.json' ? [path] : [];
  });
}

let builds = 0;

async function build(entry, folder) {
  const esbuild = await import('esbuild');
  // Somebody else may do the same at this moment: each build has a folder of its own, and whoever is first gives it the name.
  const own = `${folder}.${process.pid}.${builds++}`;
  mkdirSync(own, { recursive: true });
  process.on('exit', () => rmSync(own, { recursive: true, force: true }));
  await esbuild.build({
    entryPoints: { main: entry },
    outdir: own,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    conditions: ['@atelier/source'],
    sourcemap: 'linked',
    minifyWhitespace: true,
    // Packages in the bundle that were written for `require` find Node's own modules by it.
    banner: { js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);" },
    mainFields: ['module', 'main'],
    logLevel: 'silent',
    plugins: [others],
  });
  try {
    renameSync(own, folder);
  } catch (error) {
    if (!existsSync(join(folder, 'main.mjs'))) throw error;
  }
}

/** Removes bundles that nothing has used for 30 days. A long run loads parts of its bundle late, so a newer bundle does not replace it. */
function removeOld(now) {
  for (const name of readdirSync(cache)) {
    const path = join(cache, name);
    if (now - statSync(path).mtimeMs > 30 * 86_400_000) rmSync(path, { recursive: true, force: true });
  }
}

/** The path of the bundle of a program; builds it if a source has changed since the last time. */
export async function bundled(entry) {
  const folder = join(cache, nameOfSources(entry));
  const path = join(folder, 'main.mjs');
  if (!existsSync(path)) {
    await build(entry, folder);
    removeOld(Date.now());
  }
  utimesSync(folder, new Date(), new Date());
  return path;
}
