import { swinDiTMacs, swinDiTParameterCount, type AttentionKind, type SwinDiTSettings } from '@atelier/swin-dit';
import type { ImageFacts } from '../src/data/images.ts';
import type { Fields, Images, ModelName } from './config.ts';
import { modelLabels } from './methods.ts';

/** The sizes that all models of a comparison share. */
export type SharedSettings = { dit: SwinDiTSettings['dit']; grid: [number, number]; window: number; kernel?: number | undefined };

/** One network of a comparison. */
export type Model = {
  readonly name: ModelName;
  /** For legends and tables. */
  readonly label: string;
  readonly settings: SwinDiTSettings;
  readonly parameters: number;
  /** Multiply-accumulates of all blocks for one image, forward. */
  readonly blockMacs: number;
};

/** A network of the comparison. The networks differ only in what mixes the tokens. */
export function model(name: ModelName, { kernel, ...shared }: SharedSettings): Model {
  const depth = shared.dit.depth;
  const kinds: Partial<Record<ModelName, SwinDiTSettings['attention']>> = {
    dit: 'global',
    window: 'window',
    swin: Array.from({ length: depth }, (_, l): AttentionKind => (l % 2 === 1 ? 'shifted' : 'window')),
  };
  const allocations: Partial<Record<ModelName, Pick<SwinDiTSettings, 'pcca' | 'windowHeads'>>> = {
    pswa: { pcca: { rho0: 1 / 4, rho1: 3 / 4 } },
    uniform: { pcca: { rho0: 1 / 2, rho1: 1 / 2 } },
    reversed: { pcca: { rho0: 3 / 4, rho1: 1 / 4 } },
    bridge: { windowHeads: Array.from({ length: depth }, () => 0) },
  };
  const settings: SwinDiTSettings = {
    ...shared,
    ...(kernel !== undefined && { kernel }),
    attention: kinds[name] ?? 'pswa',
    ...allocations[name],
  };
  const blockMacs = swinDiTMacs(settings).blocks.reduce((a, b) => a + b, 0);
  return { name, label: modelLabels[name], settings, parameters: swinDiTParameterCount(settings), blockMacs };
}

/** The networks that a configuration trains on fields. */
export function fieldModels({ grid, patchSize, width, depth, heads, window, kernel, models }: Fields): Model[] {
  const dit = { inChannels: 1, patchSize, width, depth, heads, numClasses: 1, nullClass: false };
  return models.map((name) => model(name, { dit, grid: [grid, grid], window, kernel }));
}

/** The networks that a configuration trains on images. */
export function imageModels({ network, models }: Images, set: Pick<ImageFacts, 'height' | 'width' | 'channels' | 'classes'>): Model[] {
  const { patchSize, width, depth, heads, window, kernel, learnSigma } = network;
  const dit = { inChannels: set.channels, patchSize, width, depth, heads, numClasses: set.classes, learnSigma };
  const grid: [number, number] = [set.height / patchSize, set.width / patchSize];
  return models.map((name) => model(name, { dit, grid, window, kernel }));
}
