import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { unpackBatches } from '../src/cifar10.ts';
import { cifar10 } from '../src/node.ts';
import { untar } from '../src/tar.ts';
import { temporaryFolder } from './folder.ts';
import { serve } from './server.ts';

/** Records with the given labels; the pixel of channel c at index i of image n is (50·n + 100·c + i) mod 256. */
function records(labels: readonly number[]): Uint8Array {
  return Uint8Array.from(
    labels.flatMap((label, n) => [
      label,
      ...Array.from({ length: 3072 }, (_, k) => (50 * n + 100 * Math.floor(k / 1024) + (k % 1024)) % 256),
    ]),
  );
}

function folderWith(files: Record<string, Uint8Array>, sub = 'cifar-10-batches-bin'): string {
  const dataDir = temporaryFolder();
  mkdirSync(join(dataDir, sub), { recursive: true });
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(dataDir, sub, name), bytes);
  return dataDir;
}

describe('cifar10', () => {
  it('turns planes into channels-last pixels', async () => {
    const set = await cifar10('test', { dataDir: folderWith({ 'test_batch.bin': records([3, 8]) }) });
    expect([set.name, set.count, set.height, set.width, set.channels, set.classes]).toEqual(['cifar-10 test', 2, 32, 32, 3, 10]);
    expect([...set.labels].map((label) => set.classNames[label])).toEqual(['cat', 'ship']);
    // Image 1, row 2, column 5: i = 69.
    const at = 3 * (1024 + 69);
    expect([...set.pixels.subarray(at, at + 3)]).toEqual([119, 219, (50 + 200 + 69) % 256]);
  });

  it.each(['cifar-10-batches-bin', '.'])('takes the batches that are there, in order, from <dataDir>/%s', async (sub) => {
    const dataDir = folderWith({ 'data_batch_4.bin': records([4, 5]), 'data_batch_2.bin': records([2]) }, sub);
    expect([...(await cifar10('train', { dataDir })).labels]).toEqual([2, 4, 5]);
  });

  it.each<[string, Uint8Array, string]>([
    [
      'cut in the second record',
      records([1, 2]).subarray(0, 4000),
      'test_batch.bin at byte 3073: wanted a whole record of 3073 bytes, got 927 bytes and the end of the file',
    ],
    ['empty', new Uint8Array(0), 'test_batch.bin at byte 0: wanted a whole record'],
    ['a web page', Buffer.from('<html><title>Moved</title></html>'), 'test_batch.bin: wanted data, got a web page (HTML)'],
    ['with a label of 10', records([1, 10]), 'test_batch.bin at byte 3073: wanted a label below 10, got 10'],
    [
      'too long',
      new Uint8Array(10_001 * 3073),
      'test_batch.bin at byte 30730000: wanted the end of the file after 10000 records, got 3073 more bytes',
    ],
  ])('refuses a file that is %s', async (_, bytes, message) => {
    await expect(cifar10('test', { dataDir: folderWith({ 'test_batch.bin': bytes }) })).rejects.toThrow(message);
  });

  it('refuses a split that does not exist', async () => {
    await expect(cifar10('valid' as 'test')).rejects.toThrow("cifar10: wanted split 'train' or 'test', got 'valid'");
  });

  it('refuses an archive that is not the published one, and leaves no folder', async () => {
    const cacheDir = temporaryFolder();
    const server = await serve(() => ({ status: 200, body: gzipSync('not it') }));
    await expect(cifar10('test', { dataDir: '', cacheDir, url: server.url })).rejects.toThrow(
      'download: wanted md5 c32a1d4ab5d03f1284b67883e8d87530',
    );
    expect(readdirSync(cacheDir)).toEqual([]);
  });
});

/** Made with GNU tar 1.34: `cifar-x/a.bin` holds "hello", `cifar-x/b.bin` 600 times "z". */
const GNU_TAR = gunzipSync(
  Buffer.from(
    'H4sIAAAAAAACA+3UQQrCMBCF4RwlF1BnmqY9T1oUC8VArCCe3lp0U6GuUhH/bzNhkt3jpe0OIW2uO5ORjGrvpzmaz+msZe28SlE99qoqzlhvVnA5DyFZa1KMw9K7T/c/qn3mH7ZNd8qYf1WWC/n7' +
      'Wf6FqBgr5J/dcd/30eBfvfrffK//qk7e+6/0fw03IAN+VgAAAAAAAAAAAABY1x3uDQO8ACgAAA==',
    'base64',
  ),
);

describe('untar', () => {
  it('reads an archive of GNU tar', () => {
    const files = untar({ bytes: GNU_TAR, where: 'x.tar' });
    expect([...files.keys()]).toEqual(['cifar-x/a.bin', 'cifar-x/b.bin']);
    expect(Buffer.from(files.get('cifar-x/a.bin')!).toString()).toBe('hello');
    expect(Buffer.from(files.get('cifar-x/b.bin')!).toString()).toBe('z'.repeat(600));
  });

  it('refuses a cut archive and a damaged header', () => {
    const files = (bytes: Uint8Array) => () => untar({ bytes, where: 'x.tar' });
    // Entries begin at 0 (the folder), 512, 1536.
    expect(files(GNU_TAR.subarray(0, 2100))).toThrow(
      'x.tar at byte 1536: wanted an entry that ends at byte 2648, got an archive of 2100 bytes',
    );
    expect(files(GNU_TAR.subarray(0, 1536))).toThrow('x.tar at byte 1536: wanted the two empty blocks');
    const damaged = Uint8Array.from(GNU_TAR);
    damaged[520]! ^= 1;
    expect(files(damaged)).toThrow('x.tar at byte 512: wanted a tar header, got one with a wrong checksum');
  });
});

describe('unpackBatches', () => {
  const names = ['data_batch_1.bin', 'data_batch_2.bin', 'data_batch_3.bin', 'data_batch_4.bin', 'data_batch_5.bin', 'test_batch.bin'];
  const archive = (some: readonly string[]): Map<string, Uint8Array> =>
    new Map(some.map((name, k) => [`cifar-10-batches-bin/${name}`, records([k])]));

  it('writes the six batches to a folder that the reader then finds in the cache', async () => {
    const cacheDir = temporaryFolder();
    await unpackBatches(archive(names), join(cacheDir, 'cifar-10-batches-bin'));
    expect(readdirSync(cacheDir)).toEqual(['cifar-10-batches-bin']);
    expect([...(await cifar10('train', { dataDir: '', cacheDir })).labels]).toEqual([0, 1, 2, 3, 4]);
    expect([...(await cifar10('test', { dataDir: '', cacheDir })).labels]).toEqual([5]);
  });

  it('leaves nothing behind when a batch is missing from the archive', async () => {
    const cacheDir = temporaryFolder();
    const folder = join(cacheDir, 'cifar-10-batches-bin');
    await expect(unpackBatches(archive(names.slice(0, 5)), folder)).rejects.toThrow(
      "wanted an entry 'cifar-10-batches-bin/test_batch.bin', got none",
    );
    expect(readdirSync(cacheDir)).toEqual([]);
  });

  it('keeps the folder that another process finished first', async () => {
    const cacheDir = temporaryFolder();
    const folder = join(cacheDir, 'cifar-10-batches-bin');
    mkdirSync(folder);
    writeFileSync(join(folder, 'test_batch.bin'), 'theirs');
    await unpackBatches(archive(names), folder);
    expect(readFileSync(join(folder, 'test_batch.bin'), 'utf8')).toBe('theirs');
    expect(readdirSync(cacheDir)).toEqual(['cifar-10-batches-bin']);
  });

  it('reports a cache folder that lost a batch', async () => {
    const cacheDir = folderWith({ 'data_batch_1.bin': records([1]) });
    await expect(cifar10('train', { dataDir: '', cacheDir })).rejects.toThrow('got 1 of them; remove the folder to unpack it again');
    expect(existsSync(join(cacheDir, 'cifar-10-batches-bin'))).toBe(true);
  });
});
