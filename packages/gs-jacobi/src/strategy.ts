import { checkNumber, parseConfig } from '@atelier/tensor';
import { z } from 'zod';

/** Where the iteration of a block starts: at its own noise, or at zero; token 0 is the noise's in both. Official numbers: 0 and 1. */
export const officialGuesses = ['z', 'zero'] as const;
export type OfficialGuess = (typeof officialGuesses)[number];
/** And one of ours, `mean`, for which the sampler needs `meanGuesses`. */
export const guessKinds = [...officialGuesses, 'mean'] as const;
export type Guess = (typeof guessKinds)[number];

const count = z.int().min(1);
const guess = z.enum(guessKinds);

/** How one block is inverted. */
export const blockPlan = z.discriminatedUnion('method', [
  /** Token by token. */
  z.strictObject({ method: z.literal('sequential') }),
  /** See `GsJacobiOptions`; without a tolerance that of the sampler holds. */
  z.strictObject({
    method: z.literal('gs-jacobi'),
    segments: z.union([count, z.array(count).min(1)]),
    iterations: count,
    guess: guess.default('z'),
    tolerance: z.number().optional(),
    largestChange: z.number().positive().optional(),
  }),
  /** See `ExactOptions`. */
  z.strictObject({
    method: z.literal('exact'),
    window: count,
    guess: guess.default('z'),
    tolerance: z.number().min(0).optional(),
  }),
]);
export type BlockPlan = z.output<typeof blockPlan>;

/** Plans of all blocks in the order of sampling: entry i is block K - 1 - i. */
export const strategy = z.array(blockPlan).min(1);
export type Strategy = BlockPlan[];
export type StrategyOptions = z.input<typeof strategy>;

/** Reads a strategy for K blocks. @throws Error in one sentence if it does not fit */
export function readStrategy(plans: StrategyOptions, blocks: number, where: string): Strategy {
  const read = parseConfig(strategy, plans, `${where}: strategy`);
  if (read.length !== blocks) throw new Error(`${where}: strategy: wanted plans of ${blocks} blocks, got ${read.length}`);
  return read;
}

/** The same plan for all K blocks. */
export const everywhere = (blocks: number, plan: z.input<typeof blockPlan>): Strategy =>
  readStrategy(new Array<typeof plan>(blocks).fill(plan), blocks, 'everywhere');

/**
 * The official lists, in the order of sampling: `num_GS` segments (below 1, or as many as tokens: sequential), `max_jacobi` iterations, and
 * guesses 0 (noise) or 1 (zero).
 */
export function officialStrategy(
  lists: { numGS: readonly number[]; maxJacobi: readonly number[]; guess: readonly number[] },
  tokens: number,
): Strategy {
  const { numGS, maxJacobi } = lists;
  const blocks = numGS.length;
  for (const [name, list] of Object.entries(lists))
    if (list.length !== blocks) throw new Error(`officialStrategy: ${name}: wanted ${blocks} entries as in numGS, got ${list.length}`);
  const plans = numGS.map((segments, i): StrategyOptions[number] => {
    if (segments < 1 || segments === tokens) return { method: 'sequential' };
    const start = officialGuesses[lists.guess[i]!];
    if (start === undefined) throw new Error(`officialStrategy: guess: wanted 0 (noise) or 1 (zero), got ${lists.guess[i]}`);
    return { method: 'gs-jacobi', segments, iterations: maxJacobi[i]!, guess: start };
  });
  return readStrategy(plans, blocks, 'officialStrategy');
}

/**
 * Reads the notation [Stack-G-J-Else] of the paper: blocks in Stack get G segments of at most J iterations each, all others one segment of
 * at most Else. Several blocks are parted by slashes, and so are their G and J where they differ: `[0/7-256/8-1/13-6]`. G = T is sequential,
 * and `top` stands for block K - 1, which is inverted first.
 *
 * @param guesses where each block starts, in the order of sampling; all at the noise if not given
 */
export function parseStrategy(
  name: string,
  { blocks, tokens, guesses }: { blocks: number; tokens: number; guesses?: readonly Guess[] },
): Strategy {
  checkNumber('parseStrategy: blocks', blocks, { integer: true, min: 1 });
  checkNumber('parseStrategy: tokens', tokens, { integer: true, min: 1 });
  const list = '([\\d/]+)';
  const found = new RegExp(`^\\[?((?:top|\\d+)(?:/(?:top|\\d+))*)-${list}-${list}-(\\d+)\\]?$`).exec(name.trim());
  if (found === null) throw new Error(`parseStrategy: wanted a name like [6-8-32-10] or [0/7-256/8-1/13-6], got '${name}'`);
  const stack = found[1]!.split('/').map((block) => (block === 'top' ? blocks - 1 : Number(block)));
  const wrong = stack.find((block, i) => block >= blocks || stack.indexOf(block) !== i);
  if (wrong !== undefined)
    throw new Error(`parseStrategy: ${name}: wanted different blocks from 0 to ${blocks - 1} as its stack, got ${stack.join('/')}`);
  const perBlock = (text: string, what: string): number[] => {
    const numbers = text.split('/').map(Number);
    if (numbers.some((n) => n < 1) || (numbers.length !== 1 && numbers.length !== stack.length))
      throw new Error(`parseStrategy: ${name}: wanted one ${what} from 1 or one for each block of the stack, got ${text}`);
    return stack.map((_, i) => numbers[numbers.length === 1 ? 0 : i]!);
  };
  const segments = perBlock(found[2]!, 'number of segments');
  const iterations = perBlock(found[3]!, 'number of iterations');
  const others = perBlock(found[4]!, 'number of iterations')[0]!;
  if (guesses !== undefined && guesses.length !== blocks)
    throw new Error(`parseStrategy: guesses: wanted ${blocks} guesses, got ${guesses.length}`);
  const plans = Array.from({ length: blocks }, (_, i): StrategyOptions[number] => {
    const at = stack.indexOf(blocks - 1 - i);
    if (at >= 0 && segments[at] === tokens) return { method: 'sequential' };
    const plan = at < 0 ? { segments: 1, iterations: others } : { segments: segments[at]!, iterations: iterations[at]! };
    if (plan.segments > tokens) throw new Error(`parseStrategy: ${name}: wanted at most ${tokens} segments, got ${plan.segments}`);
    return { method: 'gs-jacobi', ...plan, guess: guesses?.[i] ?? 'z' };
  });
  return readStrategy(plans, blocks, 'parseStrategy');
}

/** A published strategy and what its samples were made with besides. Guesses in the order of sampling. */
export type PublishedStrategy = {
  /** Which of tarflow's `publishedTarFlows` it samples. */
  readonly model: string;
  readonly name: string;
  readonly guesses: readonly OfficialGuess[];
  /** Annealed guidance w, attention temperature τ, and the factor λ of the denoising step. */
  readonly guidance: { readonly weight: number; readonly temperature: number };
  readonly denoising: number;
};

const guessList = (numbers: string): OfficialGuess[] => [...numbers].map((n) => officialGuesses[Number(n)]!);

/** Table of the paper's code (encoreus/GS-Jacobi_for_TarFlow README), all with ε = 1e-6 and values clipped to [-3, 3]. */
export const publishedStrategies = {
  Img128cond: {
    model: 'imagenet-128',
    name: '[6-8-32-10]',
    guesses: guessList('01000010'),
    guidance: { weight: 1.5, temperature: 1 },
    denoising: 0.97,
  },
  AFHQ: {
    model: 'afhq-256',
    name: '[7-8-32-10]',
    guesses: guessList('00000110'),
    guidance: { weight: 3.4, temperature: 1 },
    denoising: 1.4,
  },
  // Its official samples come from a first segment that was not solved at all (GS_Jacobi_sampling.py:385-404); this is what was meant.
  Img64uncond: {
    model: 'imagenet-64-uncond',
    name: '[0/6-8-32-20]',
    guesses: guessList('01001011'),
    guidance: { weight: 0.2, temperature: 0.3 },
    denoising: 0.9,
  },
  Img64cond: {
    model: 'imagenet-64-patch-4',
    name: '[0/7-256/8-1/13-6]',
    guesses: guessList('10000111'),
    guidance: { weight: 2, temperature: 1 },
    denoising: 1,
  },
} as const satisfies Record<string, PublishedStrategy>;
