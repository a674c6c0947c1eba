import { ditConfig, officialDiTConfig, type DiTName } from '@atelier/nn';
import { parseConfig } from '@atelier/tensor';
import { z } from 'zod';

const size = z.int().min(1);
const share = z.number().min(0).max(1);

/**
 * What mixes the tokens of a layer: `global`, the attention of DiT; `window`, attention inside windows; `shifted`, the same with windows moved by half
 * their side, as in Swin; `pswa`, window heads beside bridging heads.
 */
export const attentionKind = z.enum(['global', 'window', 'shifted', 'pswa']);
export type AttentionKind = z.infer<typeof attentionKind>;

/**
 * Settings of a Swin DiT: those of the DiT that it is based on, the token grid, and what replaces its attention.
 *
 * Everything except `dit` is our reading of the paper (see the README), also the defaults.
 */
export const swinDiTConfig = z
  .strictObject({
    dit: ditConfig,
    /** Rows h and columns w of the token grid: image side divided by patch side. On a small grid the tables of relative positions depend on it. */
    grid: z.tuple([size, size]),
    /** One kind for all layers, or one for each. */
    attention: z.union([attentionKind, z.array(attentionKind)]).default('pswa'),
    /** M, side of a window in tokens, or the smaller side of the grid if that is not larger. It must divide both sides of the grid. */
    window: size.default(8),
    /** K, side of the bridge's kernel, odd; max(3, 2⌊M/4⌋ + 1) if absent. */
    kernel: size.optional(),
    /** Shares of window heads in the first and the last PSWA layer; between them the share is linear. 1/4 and 3/4 if absent. */
    pcca: z.strictObject({ rho0: share, rho1: share }).optional(),
    /** Number of window heads of each PSWA layer, instead of `pcca`. With 0 there are only bridging heads; with all of the heads, only window heads. */
    windowHeads: z.array(z.int().min(0)).optional(),
  })
  .superRefine(({ dit, attention, kernel, pcca, windowHeads }, context) => {
    const wrong = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message });
    if (Array.isArray(attention) && attention.length !== dit.depth)
      wrong('attention', `wanted one kind for each of ${dit.depth} layers, got ${attention.length}`);
    if (kernel !== undefined && kernel % 2 === 0) wrong('kernel', `wanted an odd number, got ${kernel}`);
    if (windowHeads === undefined) return;
    if (pcca !== undefined) wrong('windowHeads', 'wanted window heads or pcca, got both');
    const layers = Array.isArray(attention) ? attention.filter((kind) => kind === 'pswa').length : attention === 'pswa' ? dit.depth : 0;
    if (windowHeads.length !== layers) wrong('windowHeads', `wanted a number for each of ${layers} PSWA layers, got ${windowHeads.length}`);
    const most = Math.max(0, ...windowHeads);
    if (most > dit.heads) wrong('windowHeads', `wanted at most the ${dit.heads} heads of a layer, got ${most}`);
  });

/** All settings, with the defaults filled in. */
export type SwinDiTConfig = z.output<typeof swinDiTConfig>;
/** Settings as a caller writes them; those with a default may be left out. */
export type SwinDiTSettings = z.input<typeof swinDiTConfig>;

/** Settings with their defaults filled in. @throws Error with one sentence that names what does not fit */
export const parseSwinDiT = (settings: SwinDiTSettings, where: string): SwinDiTConfig => parseConfig(swinDiTConfig, settings, where);

/** The side of an image divided by the side of its latents. */
const LATENT_FACTOR = 8;

/**
 * Settings of Swin-DiT-S, -B, -L or -XL with patches of 2, 4 or 8 for images of 256 (or other) pixels a side: `swinDiTSettings('L/2')`. Depth, width and heads
 * are those of the DiT of the same name, since the paper's own could not be found; M = 8.
 *
 * @param more further settings, or others in place of these
 */
export function swinDiTSettings(
  name: DiTName,
  more: Partial<Omit<SwinDiTSettings, 'dit' | 'grid'>> & { image?: number } = {},
): SwinDiTConfig {
  const { image = 256, ...attention } = more;
  const dit = officialDiTConfig(name);
  const side = image / (LATENT_FACTOR * dit.patchSize);
  if (!Number.isInteger(side) || side < 1)
    throw new Error(`swinDiTSettings: image: wanted a multiple of ${LATENT_FACTOR * dit.patchSize}, got ${image}`);
  return parseSwinDiT({ dit, grid: [side, side], ...attention }, 'swinDiTSettings');
}
