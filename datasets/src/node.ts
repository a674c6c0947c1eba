// The part that needs Node: glyphs drawn from font files, and sets that are downloaded or read from a folder.
export { glyphOptions, glyphs, type GlyphOptions } from './glyphs.ts';
export { movingGlyphOptions, movingGlyphs, type MovingGlyphOptions } from './moving-glyphs.ts';
export { GLYPH_FACES, type GlyphFace } from './glyph-raster.ts';
export { parseIdx, parseIdxPair, type IdxArray } from './idx.ts';
export type { NamedBytes } from './gzip.ts';
export { FASHION_MNIST_CLASSES, fashionMnist, mnist, MNIST_CLASSES, type MnistOptions, type Split } from './mnist.ts';
export { cifar10, CIFAR10_CLASSES, type Cifar10Options } from './cifar10.ts';
export type { Places } from './download.ts';
