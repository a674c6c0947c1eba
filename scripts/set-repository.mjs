// Writes the address of the repository into every public package, as npm wants it for provenance: node scripts/set-repository.mjs owner/name
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const [slug, ...rest] = process.argv.slice(2);
if (slug === undefined || rest.length > 0 || !/^[\w.-]+\/[\w.-]+$/.test(slug)) {
  console.error(`scripts/set-repository.mjs: wanted owner/name, got '${process.argv.slice(2).join(' ')}'`);
  process.exit(1);
}
const folders = [...readdirSync(join(root, 'packages')).map((name) => `packages/${name}`), 'datasets'];
for (const directory of folders) {
  const file = join(root, directory, 'package.json');
  if (!existsSync(file)) continue;
  const manifest = JSON.parse(readFileSync(file, 'utf8'));
  if (manifest.private) continue;
  const url = `https://github.com/${slug}`;
  manifest.repository = { type: 'git', url: `git+${url}.git`, directory };
  manifest.homepage = `${url}/tree/main/${directory}#readme`;
  manifest.bugs = `${url}/issues`;
  writeFileSync(file, `${JSON.stringify(manifest, null, 2)}\n`);
  console.log(`${directory}: ${url}`);
}
