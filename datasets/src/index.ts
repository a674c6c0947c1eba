// Runs in Node and in a page. What needs Node (fonts, files, downloads) is in `@atelier/datasets/node`.
export { gather, imageSet, imageSize, slice, type ImageBatch, type ImageSet, type VideoSet } from './image-set.ts';
export { batches, type Batches, type BatchState } from './batches.ts';
export { checkerboard, gaussian, ring, twoMoons, type Density } from './density.ts';
export { gaussianField, type GaussianField } from './gaussian-field.ts';
export { drawShape, SHAPE_CLASSES, shapes, type Shape } from './shapes.ts';
export { DISC_AND_BOX_CLASSES, discsAndBoxes } from './discs-and-boxes.ts';
export { FIGURE_CLASSES, figures } from './figures.ts';
