import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';

const TYPES: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm', '.css': 'text/css' };

/**
 * Serves a folder, opens it in a headless browser that draws in software, and waits until the page posts to /report.
 * @throws Error with what the browser printed if it ends first, or if it takes longer than `seconds`
 */
export async function reportOf(folder: string, chromium: string, seconds = 600): Promise<Record<string, unknown>> {
  const profile = mkdtempSync(join(tmpdir(), 'atelier-chromium-'));
  let told: (report: Record<string, unknown>) => void;
  const report = new Promise<Record<string, unknown>>((done) => (told = done));
  const server = createServer((request, response) => {
    if (request.method === 'POST') {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        response.end();
        told(JSON.parse(body) as Record<string, unknown>);
      });
      return;
    }
    const path = join(folder, new URL(request.url ?? '/', 'http://page').pathname);
    const file = existsSync(path) && statSync(path).isDirectory() ? join(path, 'index.html') : path;
    if (!existsSync(file)) return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' }).end(readFileSync(file));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as { port: number };
  const flags = [
    '--headless=new',
    '--no-sandbox',
    '--disable-dev-shm-usage',
    '--use-angle=swiftshader',
    '--enable-unsafe-swiftshader',
    '--enable-logging=stderr',
    `--user-data-dir=${profile}`,
  ];
  const browser = spawn(chromium, [...flags, `http://127.0.0.1:${port}/`], { stdio: ['ignore', 'ignore', 'pipe'] });
  let printed = '';
  browser.stderr.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  const ended = new Promise<never>((_, failed) => {
    const timer = setTimeout(() => failed(new Error(`${chromium} reported nothing within ${seconds} s:\n${printed}`)), 1000 * seconds);
    browser.on('error', failed);
    browser.on('close', () => (clearTimeout(timer), failed(new Error(`${chromium} ended before the page reported:\n${printed}`))));
  });
  try {
    return await Promise.race([report, ended]);
  } finally {
    ended.catch(() => undefined);
    const gone = new Promise((done) => browser.on('close', done));
    browser.kill();
    await gone;
    server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}
