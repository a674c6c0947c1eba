/** One input made from a valid one, and how the product reads it. */
export interface MutatedCase {
  /** What is read, to be shown with a fault. */
  readonly input: Uint8Array | string;
  /** The product reads it. An error is a refusal. */
  read(): unknown;
  /** What is wrong about a value that `read` gave; `undefined` if it is right. Does not use the reader of the product. */
  wrong(value: never): string | undefined;
}

/** A kind of input. */
export interface MutatedKind {
  readonly name: string;
  /** Of how many cases one is of this kind, relative to the other kinds. */
  readonly share: number;
  /** Makes the valid inputs. `folder` is empty and belongs to this kind. */
  open(folder: string): Promise<(mutator: import('./mutator.ts').Mutator) => MutatedCase>;
}

/** What one reading showed. */
export interface Verdict {
  readonly outcome: 'refused' | 'accepted';
  readonly fault?: string;
}

/** Longest sentence, without the input and its path. */
const LONGEST = 1200;
/** Bytes that a reader may take for a small input, and for each byte of a larger one. */
const [FREE, PER_BYTE] = [96 * 2 ** 20, 40];

/** Words of the engine: an error that uses them was not written for the user. */
const DEPTHS =
  /is not a function|is not iterable|Cannot (read|set|convert|destructure|mix|create)|Maximum call stack|Invalid (array|typed array|string|DataView) length|out of bounds|The "[\w.[\]]+" argument|Reduce of empty|\[object \w+\]|offset is outside|should be a multiple|Array buffer allocation|Unexpected (token|end)|is not defined|circular structure|of (undefined|null)\b/;

/** Reads one case, and says what is wrong about how it went. */
export async function readCase(one: MutatedCase): Promise<Verdict> {
  const before = memory();
  let value: unknown;
  try {
    value = await one.read();
  } catch (error) {
    const fault = tooMuch(before, one.input.length) ?? badSentence(error);
    return { outcome: 'refused', ...(fault !== undefined && { fault }) };
  }
  const fault = tooMuch(before, one.input.length) ?? polluted() ?? one.wrong(value as never);
  return { outcome: 'accepted', ...(fault !== undefined && { fault }) };
}

/** Bytes of the heap and of buffers. */
function memory(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

function tooMuch(before: number, size: number): string | undefined {
  const taken = memory() - before;
  return taken > FREE + PER_BYTE * size ? `took ${Math.round(taken / 2 ** 20)} MiB for an input of ${size} bytes` : undefined;
}

const polluted = (): string | undefined => (Object.keys(Object.prototype).length > 0 ? 'changed the prototype of all objects' : undefined);

/** What keeps an error from being one sentence of ours. */
function badSentence(error: unknown): string | undefined {
  if (!(error instanceof Error)) return `threw ${String(error)}`;
  if (!['Error', 'StopError', 'CACError'].includes(error.name)) return `threw ${error.name}: ${error.message.slice(0, 200)}`;
  return badWords(error.message);
}

/** What keeps a text from being one sentence for the user. */
export function badWords(words: string): string | undefined {
  if (words === '') return 'said nothing';
  const shown = JSON.stringify(words.slice(0, 300));
  if (words.length > LONGEST) return `said ${words.length} characters: ${shown}`;
  if (/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/.test(words))
    return `said control characters: ${shown}`;
  if (DEPTHS.test(words)) return `said words of the engine: ${shown}`;
  return undefined;
}
