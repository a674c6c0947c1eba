// `pnpm bench <name> …`: runs bench/<name>.ts on the sources. Uses only what comes with Node.
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', 'bench');
const names = readdirSync(folder)
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.slice(0, -3))
  .sort();
const [name, ...words] = process.argv.slice(2);

if (!names.includes(name)) {
  console.error(`bench: wanted one of ${names.join(', ') || '(there is none)'}, got '${name ?? ''}'`);
  process.exitCode = 1;
} else {
  const args = ['--expose-gc', '--import', 'tsx', '--conditions=@atelier/source', join(folder, `${name}.ts`), ...words];
  const child = spawn(process.execPath, args, { cwd: folder, stdio: 'inherit' });
  process.on('SIGINT', () => {});
  child.on('close', (code, signal) => (process.exitCode = code ?? (signal === 'SIGINT' ? 130 : 1)));
}
