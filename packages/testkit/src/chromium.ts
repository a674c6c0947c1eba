import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** A Chromium or Chrome on this machine: `ATELIER_CHROMIUM`, or the first in PATH. */
export function findChromium(): string | undefined {
  const named = process.env['ATELIER_CHROMIUM'];
  if (named) return named;
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']
    .flatMap((name) => folders.map((folder) => join(folder, name)))
    .find((path) => existsSync(path));
}
