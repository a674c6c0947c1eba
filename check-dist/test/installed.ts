import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const workspace = join(import.meta.dirname, '..', '..');
const manifestOf = (folder: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<string, unknown>;
const { packageManager, devDependencies } = manifestOf(workspace) as { packageManager: string; devDependencies: Record<string, string> };

/** The folders of the packages that are published. */
export const publicFolders = [
  ...readdirSync(join(workspace, 'packages')).map((name) => join(workspace, 'packages', name)),
  join(workspace, 'datasets'),
];
export const publicNames = publicFolders.map((folder) => manifestOf(folder)['name'] as string);

/** The version of a package that a public package of the workspace is tested with. */
function testedVersion(dependency: string): string {
  for (const folder of publicFolders) {
    const version = (manifestOf(folder)['devDependencies'] as Record<string, string> | undefined)?.[dependency];
    if (version !== undefined) return version;
  }
  throw new Error(`check-dist: no package is tested with ${dependency}`);
}

/** Runs a program; what it prints. @throws Error with its output if it fails */
export function run(cwd: string, program: string, args: readonly string[], env: Record<string, string> = {}): string {
  try {
    return execFileSync(program, args, {
      cwd,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
      shell: process.platform === 'win32',
    });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${program} ${args.join(' ')}:\n${stdout}\n${stderr}`, { cause: error });
  }
}

/**
 * Packs the built packages and installs the tarballs with npm into an empty folder, with TensorFlow.js as the reader's own dependency. Nothing but the npm
 * registry is asked for: ONNX Runtime is told not to download its CUDA files.
 *
 * @returns the folder, and the path of each tarball by the name of its package
 */
export function install(): { folder: string; tarballs: Record<string, string> } {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-outside-'));
  const packed = join(folder, 'tarballs');
  mkdirSync(packed);
  const these = ['--filter', './packages/*', '--filter', './datasets'];
  const report = run(workspace, 'npx', ['--yes', packageManager, '--recursive', ...these, 'pack', '--json', '--pack-destination', packed]);
  const tarballs = Object.fromEntries(
    (JSON.parse(report) as { name: string; filename: string }[]).map(({ name, filename }) => [name, filename]),
  );
  writeFileSync(join(folder, 'package.json'), '{ "name": "new-user", "private": true, "type": "module" }\n');
  const others = ['@tensorflow/tfjs', '@tensorflow/tfjs-backend-wasm'].map((name) => `${name}@${testedVersion(name)}`);
  const tools = ['vite@8', `vitest@${devDependencies['vitest']}`];
  run(folder, 'npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', ...Object.values(tarballs), ...others, ...tools], {
    ONNXRUNTIME_NODE_INSTALL: 'skip',
  });
  return { folder, tarballs };
}
