import { existsSync } from 'node:fs';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** The packages of this workspace that the sources of a package may import. Imports run one way. A paper that is not listed here follows `PAPER`. */
const LAYERS = {
  'backend-ort': [],
  tensor: ['backend-ort'],
  nn: ['tensor'],
  diffusion: ['nn', 'tensor'],
  metrics: ['tensor'],
  testkit: ['tensor'],
  datasets: ['tensor'],
  'gs-jacobi': ['diffusion', 'nn', 'tensor', 'tarflow'],
};
const PAPER = ['diffusion', 'nn', 'tensor'];
const EVERYTHING = ['experiments', 'bench'];
/** Further packages that tests and the example of a package may import. */
const FOR_TESTS = ['testkit', 'datasets', 'metrics'];
/** Modules that one package wraps for all others. */
const OWNERS = { '@tensorflow/tfjs': ['tensor', 'backend-ort'], 'onnxruntime-node': ['backend-ort'], 'onnxruntime-web': ['backend-ort'] };

/** The package that a file belongs to, its folder, and whether the file is a test or the example of it; null outside of packages. */
function place(file) {
  const parts = relative(root, file).split(sep);
  const depth = parts[0] === 'packages' ? 2 : 1;
  if (parts.length <= depth || !existsSync(join(root, ...parts.slice(0, depth), 'package.json'))) return null;
  return { name: parts[depth - 1], folder: join(root, ...parts.slice(0, depth)), test: ['test', 'example.ts'].includes(parts[depth]) };
}

const layers = {
  meta: { type: 'problem', docs: { description: 'imports between packages run one way' }, schema: [] },
  create(context) {
    const here = place(resolve(context.filename));
    if (here === null) return {};
    const allowed = new Set([here.name, ...(LAYERS[here.name] ?? PAPER), ...(here.test ? FOR_TESTS : [])]);
    const check = (node) => {
      const source = node?.value;
      if (typeof source !== 'string') return;
      if (source.startsWith('.')) {
        const target = resolve(dirname(resolve(context.filename)), source);
        const free = EVERYTHING.includes(here.name) && target.startsWith(join(root, 'scripts'));
        // The testkit stands on tensor, whose tests reach it by path: a dev dependency would be a cycle.
        const testkit = here.name === 'tensor' && here.test && target.startsWith(join(root, 'packages', 'testkit', 'src'));
        // Every package has the one configuration of the tests.
        const shared = basename(context.filename) === 'vitest.config.ts' && target === join(root, 'vitest.shared.ts');
        if (!free && !testkit && !shared && !target.startsWith(here.folder + sep)) {
          context.report({ node, message: `'${source}' leaves the package; import it by its name` });
        }
        return;
      }
      const ours = /^@atelier\/([^/]+)/.exec(source)?.[1];
      if (ours !== undefined && !EVERYTHING.includes(here.name) && !allowed.has(ours)) {
        context.report({
          node,
          message: `${here.name} must not import ${ours}: it may import ${[...allowed].slice(1).join(', ') || 'nothing of ours'}`,
        });
      }
      for (const [module, owners] of Object.entries(OWNERS)) {
        if ((source === module || source.startsWith(`${module}/`)) && !owners.includes(here.name) && !here.test && here.name !== 'bench') {
          context.report({ node, message: `'${module}' is imported by ${owners.join(' and ')} alone; use what they export` });
        }
      }
    };
    return {
      ImportDeclaration: (node) => check(node.source),
      ExportNamedDeclaration: (node) => check(node.source),
      ExportAllDeclaration: (node) => check(node.source),
      ImportExpression: (node) => check(node.source),
      TSImportType: (node) => check(node.source ?? node.argument?.literal),
    };
  },
};

const fileNames = {
  meta: { type: 'problem', docs: { description: 'files are named after what is in them' }, schema: [] },
  create(context) {
    const stem = basename(context.filename).replace(/(\.test)?\.[cm]?[jt]s$/, '');
    return {
      Program(node) {
        if (/^(utils?|helpers?|common|misc)$/i.test(stem))
          context.report({ node, message: `'${stem}' says nothing; name the file after what is in it` });
        if (!/^[a-z0-9]+([-.][a-z0-9]+)*$/.test(stem))
          context.report({ node, message: `'${stem}': wanted a name in lower case with dashes` });
      },
    };
  },
};

export const plugin = { rules: { layers, 'file-names': fileNames } };
