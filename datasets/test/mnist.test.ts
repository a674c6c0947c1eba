import { mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { gather } from '../src/index.ts';
import { fashionMnist, mnist } from '../src/node.ts';
import { temporaryFolder } from './folder.ts';
import { idxFile } from './idx-file.ts';
import { serve } from './server.ts';

const PIXELS = Uint8Array.from({ length: 3 * 784 }, (_, i) => (i * 31) % 256);
type Change = { images?: Uint8Array; labels?: Uint8Array };

/** Writes a three-image test split to `folder`. */
function write(
  folder: string,
  gzipped: boolean,
  { images = idxFile([3, 28, 28], PIXELS), labels = idxFile([3], [7, 0, 9]) }: Change = {},
): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, bytes] of [
    ['t10k-images-idx3-ubyte', images],
    ['t10k-labels-idx1-ubyte', labels],
  ] as const) {
    writeFileSync(join(folder, gzipped ? `${name}.gz` : name), gzipped ? gzipSync(bytes) : bytes);
  }
}

describe('local files', () => {
  it.each([
    ['mnist', true],
    ['mnist', false],
    ['.', true],
  ])('are read from <dataDir>/%s, gzipped: %s', async (sub, gzipped) => {
    const dataDir = temporaryFolder();
    write(join(dataDir, sub), gzipped);
    const set = await mnist('test', { dataDir });
    expect([set.name, set.count, set.height, set.width, set.channels, set.classes]).toEqual(['mnist test', 3, 28, 28, 1, 10]);
    expect([...set.labels]).toEqual([7, 0, 9]);
    expect(Buffer.from(set.pixels)).toEqual(Buffer.from(PIXELS));
    expect(gather(set, [2]).x[0]).toBeCloseTo((2 * PIXELS[2 * 784]!) / 255 - 1, 6);
  });

  it.each([
    ['mnist', '.idx', false],
    ['.', '.idx', true],
    ['MNIST/raw', '-idx', true],
    ['MNIST/raw', '-idx', false],
    ['mnist/MNIST/raw', '.idx', false],
    ['mnist/raw', '-idx', false],
  ])('are found under their other usual names: %s, %s, gzipped: %s', async (sub, infix, gzipped) => {
    const dataDir = temporaryFolder();
    const folder = join(dataDir, sub);
    write(folder, gzipped);
    for (const name of readdirSync(folder)) renameSync(join(folder, name), join(folder, name.replace('-idx', infix)));
    expect([...(await mnist('test', { dataDir })).labels]).toEqual([7, 0, 9]);
  });

  it('of Fashion-MNIST are read from its own folder', async () => {
    const dataDir = temporaryFolder();
    write(join(dataDir, 'mnist'), true);
    write(join(dataDir, 'fashion-mnist'), true, { labels: idxFile([3], [1, 2, 3]) });
    expect([...(await fashionMnist('test', { dataDir })).labels]).toEqual([1, 2, 3]);
    expect((await fashionMnist('test', { dataDir })).classNames[9]).toBe('ankle boot');
  });

  it.each<[string, Change, RegExp]>([
    [
      'images of another size',
      { images: idxFile([3, 32, 32], new Uint8Array(3 * 1024)) },
      /t10k-images-idx3-ubyte at byte 8: wanted images of 28 x 28, got 32 x 32/,
    ],
    [
      'labels in place of images',
      { images: idxFile([3 * 784], PIXELS) },
      /t10k-images-idx3-ubyte at byte 0: wanted the magic number 2051 .*, got 2049/,
    ],
    [
      'a cut image file',
      { images: idxFile([3, 28, 28], PIXELS).subarray(0, 1000) },
      /t10k-images-idx3-ubyte at byte 1000: wanted 2368 bytes/,
    ],
    ['a label of 10', { labels: idxFile([3], [1, 10, 2]) }, /t10k-labels-idx1-ubyte at byte 9: wanted a label below 10, got 10/],
    ['a missing label', { labels: idxFile([2], [1, 2]) }, /t10k-labels-idx1-ubyte at byte 4: wanted 3 labels/],
  ])('are refused with %s', async (_, change, message) => {
    const dataDir = temporaryFolder();
    write(dataDir, false, change);
    await expect(mnist('test', { dataDir })).rejects.toThrow(message);
  });

  it('are refused where one of the pair is missing', async () => {
    const dataDir = temporaryFolder();
    writeFileSync(join(dataDir, 't10k-labels-idx1-ubyte'), idxFile([1], [1]));
    await expect(mnist('test', { dataDir })).rejects.toThrow(/mnist: wanted .*t10k-images-idx3-ubyte\[.gz\] beside its labels, got none/);
  });

  it('are refused where a web page was saved in their place', async () => {
    const dataDir = temporaryFolder();
    write(dataDir, false);
    writeFileSync(join(dataDir, 't10k-images-idx3-ubyte'), '\n<!DOCTYPE html>\n<html><body>403 Forbidden</body></html>');
    await expect(mnist('test', { dataDir })).rejects.toThrow(
      /t10k-images-idx3-ubyte: wanted data, got a web page \(HTML\); the download failed/,
    );
  });

  it('refuses a split that does not exist', async () => {
    await expect(mnist('validation' as 'test')).rejects.toThrow("mnist: wanted split 'train' or 'test', got 'validation'");
  });
});

describe('download', () => {
  it('is tried where the data folder has no files, and refuses other bytes than the published ones', async () => {
    const [dataDir, cacheDir] = [temporaryFolder(), temporaryFolder()];
    const server = await serve(() => ({ status: 200, body: gzipSync(idxFile([3, 28, 28], PIXELS)) }));
    await expect(mnist('test', { dataDir, cacheDir, origin: server.url })).rejects.toThrow(
      /download: wanted md5 9fb629c4189551a2d022fa330f9573f3 from .*t10k-images-idx3-ubyte.gz, got/,
    );
    expect(server.requests).toEqual(['/t10k-images-idx3-ubyte.gz']);
    expect(readdirSync(cacheDir)).toEqual([]);
  });
});

/** The real files, where there are some: `ATELIER_DATA=<folder>` with `mnist/` in it. */
describe.skipIf(!process.env['ATELIER_DATA'])('the files in ATELIER_DATA', () => {
  it('are MNIST: 60,000 and 10,000 digits with the mean 0.1307 and standard deviation 0.3081 that are known of it', async () => {
    const [train, test] = [await mnist('train'), await mnist('test')];
    expect([train.count, test.count]).toEqual([60_000, 10_000]);
    expect([...train.labels.subarray(0, 8)]).toEqual([5, 0, 4, 1, 9, 2, 1, 3]);
    const histogram = new Float64Array(256);
    for (const p of train.pixels) histogram[p]!++;
    const moment = (k: number): number => histogram.reduce((sum, n, p) => sum + n * (p / 255) ** k, 0) / train.pixels.length;
    expect(moment(1)).toBeCloseTo(0.1307, 4);
    expect(Math.sqrt(moment(2) - moment(1) ** 2)).toBeCloseTo(0.3081, 4);
  });

  it('are not taken for Fashion-MNIST', async () => {
    const dataDir = join(process.env['ATELIER_DATA']!, 'mnist');
    await expect(fashionMnist('test', { dataDir })).rejects.toThrow('wanted the labels of fashion-mnist, got those of mnist');
  });
});
