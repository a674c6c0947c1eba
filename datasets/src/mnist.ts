import { join } from 'node:path';
import { fetchPinned, md5, readIfThere, resolvePlaces, type Places } from './download.ts';
import { decompress, type NamedBytes } from './gzip.ts';
import { parseIdxPair } from './idx.ts';
import { imageSet, type ImageSet } from './image-set.ts';

export type Split = 'train' | 'test';
/** `origin`: address of the folder to download from; the pinned checksums hold for a mirror too. */
export type MnistOptions = Places & { origin?: string };

type Source = {
  /** Name of the set and of its folder in `dataDir` and in the cache. */
  name: string;
  /** Name of its folder where torchvision put it. */
  torchvision: string;
  origin: string;
  /** md5 of the published .gz files: images and labels of each split. */
  digests: Record<Split, { images: string; labels: string }>;
  classNames: readonly string[];
};

/** Names of the classes of MNIST. */
export const MNIST_CLASSES: readonly string[] = [...'0123456789'];
/** Names of the classes of Fashion-MNIST. */
export const FASHION_MNIST_CLASSES: readonly string[] = [
  'T-shirt',
  'trouser',
  'pullover',
  'dress',
  'coat',
  'sandal',
  'shirt',
  'sneaker',
  'bag',
  'ankle boot',
];

const MNIST: Source = {
  name: 'mnist',
  torchvision: 'MNIST',
  origin: 'https://ossci-datasets.s3.amazonaws.com/mnist/',
  digests: {
    train: { images: 'f68b3c2dcbeaaa9fbdd348bbdeb94873', labels: 'd53e105ee54ea40749a09fcbcd1e9432' },
    test: { images: '9fb629c4189551a2d022fa330f9573f3', labels: 'ec29112dd5afa0611ce80d1b7f02629c' },
  },
  classNames: MNIST_CLASSES,
};

const FASHION_MNIST: Source = {
  name: 'fashion-mnist',
  torchvision: 'FashionMNIST',
  origin: 'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/',
  digests: {
    train: { images: '8d4fb7e6c68d591d4c3dfef9ec88bf0d', labels: '25c81989df183df01b3e8a0aad5dffbe' },
    test: { images: 'bef4ecab320f06d8554ea6380940ec79', labels: 'bb300cfdad3c16e7a12a480ee83cd310' },
  },
  classNames: FASHION_MNIST_CLASSES,
};

/** Both sets use the same file names; these digests of label files tell them apart: of the published .gz, and of MNIST's content, however compressed. */
const LABEL_OWNERS: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    [MNIST, FASHION_MNIST].flatMap(({ name, digests }) => [digests.train, digests.test].map(({ labels }) => [labels, name])),
  ),
  a25bea736e30d166cdddb491f175f624: 'mnist',
  '27ae3e4e09519cfbb04c329615203637': 'mnist',
};

const SIDE = 28;
const LABEL_BYTES = 2 ** 26;

/**
 * MNIST: 28 × 28 × 1 digits, 60,000 to train and 10,000 to test.
 *
 * Looks for the four IDX files in `<dataDir>/mnist`, `<dataDir>` and torchvision's `MNIST/raw` in either, gzipped or not, named `t10k-images-idx3-ubyte` or
 * `t10k-images.idx3-ubyte`; then in the cache, and otherwise downloads them.
 * Checksums are checked on downloaded files only: local ones may have been compressed again or cut to a part.
 *
 * @throws Error with file name and byte offset if a file is cut short, too long, of another kind or size, or has a label of 10 or more.
 */
export function mnist(split: Split, options: MnistOptions = {}): Promise<ImageSet> {
  return load(MNIST, split, options);
}

/** Fashion-MNIST, with the file format, sizes and places of `mnist` (folder `fashion-mnist`). @throws Error as `mnist`. */
export function fashionMnist(split: Split, options: MnistOptions = {}): Promise<ImageSet> {
  return load(FASHION_MNIST, split, options);
}

async function load(source: Source, split: Split, options: MnistOptions): Promise<ImageSet> {
  if (split !== 'train' && split !== 'test') throw new Error(`${source.name}: wanted split 'train' or 'test', got '${String(split)}'`);
  const { imageFile, labelFile } = await find(source, split, options);
  const { images, labels } = parseIdxPair(imageFile, labelFile, source.classNames.length);
  const [count, height, width] = images.dims as [number, number, number];
  if (height !== SIDE || width !== SIDE)
    throw new Error(`${imageFile.where} at byte 8: wanted images of ${SIDE} x ${SIDE}, got ${height} x ${width}`);
  const { name, classNames } = source;
  return imageSet({
    name: `${name} ${split}`,
    pixels: images.data,
    labels,
    count,
    height,
    width,
    channels: 1,
    classes: classNames.length,
    classNames,
  });
}

async function find(source: Source, split: Split, options: MnistOptions): Promise<{ imageFile: NamedBytes; labelFile: NamedBytes }> {
  const { dataDir, cacheDir } = resolvePlaces(options);
  const stem = split === 'train' ? 'train' : 't10k';
  const names = { images: `${stem}-images-idx3-ubyte`, labels: `${stem}-labels-idx1-ubyte` };
  const homes = dataDir === undefined ? [] : [join(dataDir, source.name), dataDir];
  for (const folder of homes.flatMap((home) => [home, join(home, source.torchvision, 'raw'), join(home, 'raw')])) {
    const imageFile = await readPlainOrGzipped(join(folder, names.images));
    const labelFile = await readPlainOrGzipped(join(folder, names.labels));
    if (imageFile === undefined && labelFile === undefined) continue;
    if (imageFile === undefined) throw new Error(`${source.name}: wanted ${join(folder, names.images)}[.gz] beside its labels, got none`);
    if (labelFile === undefined) throw new Error(`${source.name}: wanted ${join(folder, names.labels)}[.gz] beside its images, got none`);
    const owner = LABEL_OWNERS[md5(labelFile.bytes)] ?? LABEL_OWNERS[md5(decompress(labelFile, LABEL_BYTES).bytes)];
    if (owner !== undefined && owner !== source.name)
      throw new Error(`${labelFile.where}: wanted the labels of ${source.name}, got those of ${owner}`);
    return { imageFile, labelFile };
  }
  const origin = (options.origin ?? source.origin).replace(/\/?$/, '/');
  const cached = (name: string, digest: string): Promise<NamedBytes> =>
    fetchPinned(`${origin}${name}.gz`, digest, join(cacheDir, source.name, `${name}.gz`));
  const digests = source.digests[split];
  return { imageFile: await cached(names.images, digests.images), labelFile: await cached(names.labels, digests.labels) };
}

/** A file under its published name, `…-idx3-ubyte`, or as it is named once unpacked by some archivers, `….idx3-ubyte`. */
async function readPlainOrGzipped(path: string): Promise<NamedBytes | undefined> {
  for (const name of [path, path.replace(/-(idx\d-ubyte)$/, '.$1')]) {
    const found = (await readIfThere(`${name}.gz`)) ?? (await readIfThere(name));
    if (found !== undefined) return found;
  }
  return undefined;
}
