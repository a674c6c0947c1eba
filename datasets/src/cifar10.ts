import { mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fetchPinned, readIfThere, resolvePlaces, type Places } from './download.ts';
import { decompress, refusePage, type NamedBytes } from './gzip.ts';
import { imageSet, type ImageSet } from './image-set.ts';
import type { Split } from './mnist.ts';
import { untar } from './tar.ts';

/** `url`: address of the archive; the pinned checksum holds for a mirror too. */
export type Cifar10Options = Places & { url?: string };

const ARCHIVE_URL = 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz';
const MD5 = 'c32a1d4ab5d03f1284b67883e8d87530';
/** Name of the archive, and of the folder its published files go to. */
const FOLDER = 'cifar-10-batches-bin';
const ARCHIVE = 'cifar-10-binary.tar.gz';
const ARCHIVE_LIMIT = 2 ** 28;
const FILES: Record<Split, readonly string[]> = {
  train: [1, 2, 3, 4, 5].map((k) => `data_batch_${k}.bin`),
  test: ['test_batch.bin'],
};
export const CIFAR10_CLASSES = ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'] as const;

const SIDE = 32;
const PLANE = SIDE * SIDE;
const RECORD = 1 + 3 * PLANE;
/** Most records of one file. */
const RECORDS = 10_000;

/**
 * CIFAR-10: 32 × 32 × 3 colour images of 10 classes, 50,000 to train and 10,000 to test.
 *
 * Looks for the binary batches in `<dataDir>/cifar-10-batches-bin` and `<dataDir>`, and takes those that are there (a part of the training
 * batches, or a file with fewer records, gives a smaller set); then in the cache; otherwise downloads the archive (170 MB).
 *
 * @throws Error with file name and byte offset if a file is not a whole number of records, too long, or has a label of 10 or more.
 */
export async function cifar10(split: Split, options: Cifar10Options = {}): Promise<ImageSet> {
  if (split !== 'train' && split !== 'test') throw new Error(`cifar10: wanted split 'train' or 'test', got '${String(split)}'`);
  const files = await find(split, options);
  const count = files.reduce((sum, file) => sum + recordsOf(file), 0);
  const pixels = new Uint8Array(count * 3 * PLANE);
  const labels = new Int32Array(count);
  let image = 0;
  for (const file of files) {
    for (let at = 0; at < file.bytes.length; at += RECORD, image++) {
      const label = file.bytes[at]!;
      if (label >= CIFAR10_CLASSES.length)
        throw new Error(`${file.where} at byte ${at}: wanted a label below ${CIFAR10_CLASSES.length}, got ${label}`);
      labels[image] = label;
      // [C, H, W] in the file -> [H, W, C]
      for (let i = 0; i < PLANE; i++) {
        for (let c = 0; c < 3; c++) pixels[(image * PLANE + i) * 3 + c] = file.bytes[at + 1 + c * PLANE + i]!;
      }
    }
  }
  const set = { name: `cifar-10 ${split}`, pixels, labels, count, height: SIDE, width: SIDE, channels: 3 };
  return imageSet({ ...set, classes: CIFAR10_CLASSES.length, classNames: CIFAR10_CLASSES });
}

/** Number of records of one batch file. */
function recordsOf({ bytes, where }: NamedBytes): number {
  const over = bytes.length % RECORD;
  if (over !== 0 || bytes.length === 0) {
    throw new Error(
      `${where} at byte ${bytes.length - over}: wanted a whole record of ${RECORD} bytes, got ${over} bytes and the end of the file`,
    );
  }
  if (bytes.length > RECORDS * RECORD) {
    throw new Error(
      `${where} at byte ${RECORDS * RECORD}: wanted the end of the file after ${RECORDS} records, got ${bytes.length - RECORDS * RECORD} more bytes`,
    );
  }
  return bytes.length / RECORD;
}

async function find(split: Split, options: Cifar10Options): Promise<NamedBytes[]> {
  const { dataDir, cacheDir } = resolvePlaces(options);
  for (const folder of dataDir === undefined ? [] : [join(dataDir, FOLDER), dataDir]) {
    const files = await readThose(folder, FILES[split]);
    if (files.length > 0) return files;
  }
  const folder = join(cacheDir, FOLDER);
  if (!(await isThere(folder))) await download(options.url ?? ARCHIVE_URL, cacheDir, folder);
  const files = await readThose(folder, FILES[split]);
  if (files.length !== FILES[split].length)
    throw new Error(`${folder}: wanted ${FILES[split].join(', ')}, got ${files.length} of them; remove the folder to unpack it again`);
  return files;
}

async function readThose(folder: string, names: readonly string[]): Promise<NamedBytes[]> {
  const files = await Promise.all(names.map((name) => readIfThere(join(folder, name))));
  return files.filter((file) => file !== undefined).map(refusePage);
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Downloads the archive, unpacks its batches to `folder` and removes it. */
async function download(url: string, cacheDir: string, folder: string): Promise<void> {
  const path = join(cacheDir, ARCHIVE);
  await unpackBatches(untar(decompress(await fetchPinned(url, MD5, path), ARCHIVE_LIMIT)), folder);
  await rm(path, { force: true });
}

/**
 * Writes the six batches of an unpacked archive to `folder`, which appears whole or not at all.
 *
 * @throws Error naming the entry if the archive lacks a batch.
 */
export async function unpackBatches(archive: ReadonlyMap<string, Uint8Array>, folder: string): Promise<void> {
  await mkdir(dirname(folder), { recursive: true });
  const part = await mkdtemp(`${folder}.part-`);
  try {
    for (const name of [...FILES.train, ...FILES.test]) {
      const bytes = archive.get(`${FOLDER}/${name}`);
      if (bytes === undefined) throw new Error(`${ARCHIVE}: wanted an entry '${FOLDER}/${name}', got none`);
      await writeFile(join(part, name), bytes);
    }
    await rename(part, folder);
  } catch (error) {
    await rm(part, { recursive: true, force: true });
    // Another process may have finished first: what it unpacked is the same.
    if (!(await isThere(folder))) throw error;
  }
}
