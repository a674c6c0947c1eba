import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { findChromium } from '@atelier/testkit';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runIds } from '../src/runner/run-folder.ts';
import { here, temporaryFolder } from './child.ts';

const program = findChromium();
const reason = program === undefined ? ' (skipped: no Chromium is found; install it or set ATELIER_CHROMIUM)' : '';
/** A text from a run that would be a script if it were not escaped. */
const HOSTILE = `</script><img src=x onerror="document.title='broken'">`;

describe.skipIf(program === undefined)(`the pages of runs in a browser${reason}`, () => {
  let browser: Browser;
  const runs = temporaryFolder();
  let ids: string[] = [];
  const strange: string[] = [];
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: program!, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
    await here(['run', 'linear-regression', 'seed=1'], runs);
    await here(['run', 'linear-regression', 'steps=60', `note=${HOSTILE}`], runs);
    expect((await here(['report'], runs)).out).toContain('2 runs, to look at and to compare: ');
    ids = runIds(runs);
  });
  afterAll(() => browser?.close());

  /** A page of the folder of runs; what it asks of the network and its errors are kept. */
  async function open(path: string): Promise<Page> {
    const page = await browser.newPage({ viewport: { width: 1400, height: 900 }, colorScheme: 'light' });
    page.on('request', (request) => void (/^(file|data):/.test(request.url()) || strange.push(request.url())));
    page.on('pageerror', (error) => void strange.push(error.message));
    page.on('console', (message) => void strange.push(message.text()));
    const [file, hash = ''] = path.split('#');
    await page.goto(`${pathToFileURL(join(runs, file!)).href}#${hash}`);
    // Charts are drawn once their width is known.
    if ((await page.locator('.plot').count()) > 0) await page.locator('.plot svg').first().waitFor();
    return page;
  }
  const rowsOf = (page: Page, table: string): Promise<string[][]> =>
    page.locator(`${table} tbody tr`).evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent ?? '')));

  it('the report of a run: claims first, samples under a slider, values at the pointer', async () => {
    const page = await open(`${ids[0]}/report.html`);
    const [row] = await rowsOf(page, '.claims');
    expect(row!.slice(0, 2).join(' ')).toMatch(/^✓ reproduced Least squares recovers the weights\./);
    expect(row![3]).toBe('≤ 0.1');
    expect(await page.locator('h2').first().textContent()).toBe('Claims');
    expect(await page.locator('header a').getAttribute('href')).toBe('https://arxiv.org/abs/0000.00000');

    const samples = page.locator('.steps').first();
    const [picture, slider, said] = [samples.locator('img'), samples.locator('input'), samples.locator('output')];
    const last = await picture.getAttribute('src');
    expect(await said.textContent()).toBe('step 40');
    await slider.focus();
    await page.keyboard.press('Home');
    expect(await said.textContent()).toBe('step 20');
    expect(await picture.getAttribute('src')).not.toBe(last);
    expect(await picture.evaluate((one: HTMLImageElement) => one.naturalWidth)).toBeGreaterThan(0);

    const chart = page.locator('.chart').first();
    expect(await chart.locator('h3').textContent()).toBe('first: loss');
    await chart.locator('.plot').hover();
    const shown = await chart.locator('.values').innerText();
    expect(shown).toMatch(/^step \d+\s+first\s*[\d.e-]+$/);
    await chart.locator('.plot').focus();
    await page.keyboard.press('ArrowRight');
    expect(await chart.locator('.values').innerText()).not.toBe(shown);

    const folded = page.locator('details', { hasText: 'Run and environment' }).last();
    expect(await folded.locator('table').isVisible()).toBe(false);
    await folded.locator('summary').click();
    expect(await folded.locator('table').isVisible()).toBe(true);
    await page.close();
  });

  it('fits 390 and 1400 pixels, light and dark; the verdict is on the screen', { timeout: 300_000 }, async () => {
    for (const path of [`${ids[0]}/report.html`, `index.html#${ids.join(',')}`, 'results.html']) {
      const page = await open(path);
      for (const [colorScheme, paper] of [
        ['light', 'rgb(255, 255, 255)'],
        ['dark', 'rgb(20, 23, 26)'],
      ] as const)
        for (const width of [390, 1400]) {
          await page.emulateMedia({ colorScheme });
          await page.setViewportSize({ width, height: 900 });
          const marks = await page.locator('.verdict:visible').evaluateAll((all) => all.map((one) => one.getBoundingClientRect().right));
          expect(marks.every((right) => right <= width)).toBe(true);
          await expect.poll(() => page.evaluate(() => document.documentElement.scrollWidth)).toBe(width);
          expect(await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)).toBe(paper);
        }
      await page.close();
    }
  });

  it('the page over all runs: two that are ticked stand side by side', async () => {
    const page = await open('index.html');
    expect(await rowsOf(page, '.runs')).toHaveLength(2);
    expect((await rowsOf(page, '.runs')).map(([, name]) => name!.slice(0, ids[0]!.length)).sort()).toEqual([...ids].sort());
    expect(await page.locator('#comparison').textContent()).toBe('');
    for (const id of ids) await page.locator(`input[value="${id}"]`).check();
    expect(await rowsOf(page, '.differences')).toEqual([
      ['seed', '1', '0'],
      ['steps', '40', '60'],
      ['note', '""', JSON.stringify(HOSTILE)],
    ]);
    const [verdict] = await rowsOf(page, '.verdicts');
    expect(verdict![0]).toBe('Least squares recovers the weights.');
    expect(verdict!.slice(1).every((cell) => /^✓ reproduced [\d.e-]+ \(≤ 0\.1\)$/.test(cell))).toBe(true);
    const curves = page.locator('section', { has: page.locator('h2', { hasText: 'Curves' }) });
    expect(await curves.locator('.plot svg').count()).toBe(2 * 3);

    const samples = page.locator('.steps').first();
    expect(await samples.locator('img').count()).toBe(2);
    await samples.locator('input').focus();
    await page.keyboard.press('Home');
    for (const picture of await samples.locator('img').all()) {
      const source = (await picture.getAttribute('src'))!;
      expect(source).toContain('-step-000020.png');
      expect(existsSync(join(runs, source))).toBe(true);
      await expect.poll(() => picture.evaluate((one: HTMLImageElement) => one.naturalWidth)).toBeGreaterThan(0);
    }
    await page.locator(`input[value="${ids[0]}"]`).uncheck();
    expect(await page.locator('#comparison').textContent()).toBe('');
    expect(await page.title()).toBe('Runs');
    await page.close();
  });

  it('asked nothing of the network, and no script failed', () => {
    expect(strange).toEqual([]);
  });
});
