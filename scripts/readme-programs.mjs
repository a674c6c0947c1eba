// The TypeScript in the READMEs, as programs that can be typechecked.
import { readdirSync, readFileSync, existsSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

export const workspace = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Every README of the workspace, from its top. */
export function readmes() {
  const folders = ['.', ...readdirSync(join(workspace, 'packages')).map((name) => join('packages', name)), 'datasets', 'experiments'];
  return folders.map((folder) => join(folder, 'README.md')).filter((file) => existsSync(join(workspace, file)));
}

/** The ```ts blocks of a README, read from top to bottom as one module: every other line is blank, so that lines keep their numbers. */
export function programOf(readme) {
  let inside = false;
  const lines = readFileSync(join(workspace, readme), 'utf8')
    .split('\n')
    .map((line) => {
      const fence = line.startsWith('```');
      const keep = inside && !fence;
      if (fence) inside = !inside && line.trim() === '```ts';
      return keep ? line : '';
    });
  return lines.some((line) => line !== '') ? `${lines.join('\n')}\nexport {};\n` : '';
}

/** How a reader's own project may resolve modules. */
export const RESOLUTIONS = {
  nodenext: { module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext },
  bundler: { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler },
};

/**
 * Typechecks modules that are not files on the disk, strictly and with the types of libraries.
 * @param {Record<string, string>} programs text by absolute path; the path decides where packages are looked up
 * @param {import('typescript').CompilerOptions} options beside those that every strict project has
 * @param {(path: string) => boolean} ours for which other files errors are reported
 * @returns {string[]} one sentence for each error
 */
export function typeErrors(programs, options, ours = () => false) {
  const settings = {
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2023.d.ts', 'lib.dom.d.ts'],
    strict: true,
    noEmit: true,
    skipLibCheck: false,
    types: [],
    ...options,
  };
  const host = ts.createCompilerHost(settings);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (path) => path in programs || fileExists(path);
  host.readFile = (path) => programs[path] ?? readFile(path);
  host.getSourceFile = (path, target, ...rest) =>
    path in programs ? ts.createSourceFile(path, programs[path], target, true) : getSourceFile(path, target, ...rest);
  const program = ts.createProgram(Object.keys(programs), settings, host);
  const checked = program.getSourceFiles().filter(({ fileName }) => fileName in programs || ours(fileName));
  const diagnostics = [
    ...program.getOptionsDiagnostics(),
    ...checked.flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]),
  ];
  return diagnostics.map(({ file, start, messageText, code }) => {
    const at = file === undefined ? '' : `${relative(workspace, file.fileName)}:${file.getLineAndCharacterOfPosition(start).line + 1}: `;
    return `${at}TS${code}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
  });
}
