import type { HostTensor } from '@atelier/tensor';
import { encode } from 'fast-png';
import type { Picture } from '../runner/experiment.ts';
import { DENSITY, drawSvg, style, svgDocument, text, textWidth } from './style.ts';

export interface ImageGridOptions {
  readonly title?: string;
  /** Images in a row; by default near the square root of B, or B / number of row labels. */
  readonly columns?: number;
  /** Centred above the columns, one each. */
  readonly columnLabels?: readonly string[];
  /** Left of the rows, one each. */
  readonly rowLabels?: readonly string[];
  /** The values drawn black and white; [-1, 1] by default. Values beyond are clipped. */
  readonly range?: readonly [number, number];
  /** Width of one image in pixels of layout, rounded to a whole multiple of the image; about 48 by default. */
  readonly tile?: number;
}

const GAP = 3;

/**
 * Images side by side, in rows, every pixel a sharp square.
 *
 * @param images [B, H, W, C] float32, C = 1 (grey) or 3 (red, green, blue)
 * @throws Error for another shape, another number of labels, or numbers that are not finite.
 */
export function imageGrid(images: HostTensor, options: ImageGridOptions = {}): Picture {
  const [count, height, width, channels] = checkImages(images);
  const { title, columnLabels, rowLabels, range = [-1, 1] } = options;
  const columns = options.columns ?? columnLabels?.length ?? Math.ceil(rowLabels ? count / rowLabels.length : Math.sqrt(count));
  if (!Number.isInteger(columns) || columns < 1) throw new Error(`imageGrid: columns: wanted a whole number >= 1, got ${columns}`);
  const rows = Math.ceil(count / columns);
  checkLabels('columnLabels', columnLabels, columns);
  checkLabels('rowLabels', rowLabels, rows);

  const zoom = Math.max(1, Math.round((DENSITY * (options.tile ?? 48)) / width));
  const [tileWidth, tileHeight] = [(zoom * width) / DENSITY, (zoom * height) / DENSITY];
  const { margin } = style;
  const left = margin + (rowLabels ? Math.max(...rowLabels.map((label) => textWidth(label, style.label))) + 10 : 0);
  const top = margin + (title ? 28 : 0) + (columnLabels ? 18 : 0);
  const gridWidth = columns * tileWidth + (columns - 1) * GAP;
  const gridHeight = rows * tileHeight + (rows - 1) * GAP;
  const total = Math.ceil(Math.max(left + gridWidth + margin, title ? 2 * margin + textWidth(title, style.title, true) : 0));

  const mosaic = paint(images.data as Float32Array, { count, height, width, channels, columns, rows, zoom, range });
  const body = [
    title ? text(margin, margin + 12, title, { size: style.title, bold: true }) : '',
    ...(columnLabels ?? []).map((label, i) =>
      text(left + i * (tileWidth + GAP) + tileWidth / 2, top - 6, label, { anchor: 'middle', fill: style.soft }),
    ),
    ...(rowLabels ?? []).map((label, i) =>
      text(left - 10, top + i * (tileHeight + GAP) + tileHeight / 2 + 4, label, { anchor: 'end', fill: style.soft }),
    ),
    `<image x="${left}" y="${top}" width="${gridWidth}" height="${gridHeight}" image-rendering="optimizeSpeed" ` +
      `xlink:href="data:image/png;base64,${Buffer.from(mosaic).toString('base64')}"/>`,
  ];
  const {
    png,
    width: w,
    height: h,
  } = drawSvg(svgDocument(total, top + gridHeight + margin, body.join('')), total, top + gridHeight + margin);
  return { png, width: w, height: h };
}

type Mosaic = {
  count: number;
  height: number;
  width: number;
  channels: number;
  columns: number;
  rows: number;
  zoom: number;
  range: readonly [number, number];
};

/** The tiles as one PNG at the density of drawing, gaps in the colour of the paper. */
function paint(data: Float32Array, { count, height, width, channels, columns, rows, zoom, range: [low, high] }: Mosaic): Uint8Array {
  const gap = GAP * DENSITY;
  const total = { width: columns * zoom * width + (columns - 1) * gap, height: rows * zoom * height + (rows - 1) * gap };
  const pixels = new Uint8Array(3 * total.width * total.height).fill(255);
  for (let image = 0; image < count; image++) {
    const x0 = (image % columns) * (zoom * width + gap);
    const y0 = Math.floor(image / columns) * (zoom * height + gap);
    for (let y = 0; y < zoom * height; y++) {
      for (let x = 0; x < zoom * width; x++) {
        const from = ((image * height + Math.floor(y / zoom)) * width + Math.floor(x / zoom)) * channels;
        const to = 3 * ((y0 + y) * total.width + x0 + x);
        for (let c = 0; c < 3; c++) {
          const value = data[from + (channels === 1 ? 0 : c)]!;
          pixels[to + c] = Math.round(255 * Math.min(1, Math.max(0, (value - low) / (high - low))));
        }
      }
    }
  }
  return encode({ ...total, data: pixels, channels: 3, depth: 8 });
}

function checkImages(images: HostTensor): [number, number, number, number] {
  const { dtype, shape, data } = images;
  if (dtype !== 'float32' || shape.length !== 4 || ![1, 3].includes(shape[3]!) || shape.includes(0)) {
    throw new Error(`imageGrid: wanted float32 [B, H, W, C] with C = 1 or 3, got ${dtype} [${shape.join(', ')}]`);
  }
  const bad = (data as Float32Array).findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new Error(`imageGrid: wanted finite numbers, got ${data[bad]} at position ${bad}`);
  return shape as [number, number, number, number];
}

function checkLabels(name: string, labels: readonly string[] | undefined, wanted: number): void {
  if (labels !== undefined && labels.length !== wanted)
    throw new Error(`imageGrid: ${name}: wanted ${wanted} labels, got ${labels.length}`);
}
