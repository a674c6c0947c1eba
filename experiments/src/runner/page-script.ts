import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { plainText } from '@atelier/tensor';
import { buildSync } from 'esbuild';

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', 'page-script');

/** A script of `src/page-script/` with what it imports, as plain JavaScript for a `<script>` element. */
export function pageScript(name: 'run-page' | 'runs-page'): string {
  const { outputFiles } = buildSync({
    entryPoints: [join(folder, `${name}.ts`)],
    bundle: true,
    write: false,
    format: 'iife',
    target: 'es2020',
    logLevel: 'silent',
  });
  return outputFiles[0]!.text.replaceAll('</script', '<\\/script');
}

/** Data for a script, as the content of a `<script type="application/json">` element: no text in it can end the element. */
export const pageData = (id: string, data: unknown): string =>
  `<script type="application/json" id="${id}">${JSON.stringify(data, (_, value: unknown) => (typeof value === 'string' ? plainText(value) : value)).replaceAll('<', '\\u003c')}</script>`;
