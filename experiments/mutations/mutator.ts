import { Rng } from '@atelier/tensor';

/** A JSON value whose objects are lists of pairs, so that a key can stand twice in one object. */
type Part = { readonly pairs: [string, Part][] } | { readonly items: Part[] } | { readonly text: string };

/** Numbers at and beyond the limits of every type, as texts. */
const NUMBERS = ['-1', '0', '-0', '1.5', '1e308', '1e999', '-1e999', '1e-320', '2147483648', '9007199254740993', '18446744073709551616', 'NaN', '007', '0x10', '1_000', '.inf', '.nan']; // prettier-ignore
/** Texts that have a meaning somewhere: prototypes, paths, terminals, directions of writing, YAML, HTML. */
const WORDS = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', '../x', '/', '..', '', ' ', '\u0000', '\u001b[31m', '\n', '\r', '\u202e', '\u2028', '\ud800', '*a', '&a 1', '!!binary eA==', '!x 1', '<<: {}', '? 1', '- 1', '{', ']', '"', "'", '`', '#', '--runs', '--n', '-', '=', ',', '0..4', '<script>', '💥', 'é', '\ufeff']; // prettier-ignore
const LARGEST = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];
/** Levels of a value nested deeply: more than the stack of a recursive reader holds. */
const DEEP = 20_000;

/** Changes valid inputs. Everything depends on the seed alone, so one case can be drawn again without those before it. */
export class Mutator {
  readonly #rng: Rng;
  #drawn: Float32Array = new Float32Array();
  #at = 0;

  constructor(seed: number, kind: string, index: number) {
    this.#rng = new Rng(seed).child(kind).child(index);
  }

  /** Uniform in 0 … n - 1. */
  below(n: number): number {
    if (this.#at === this.#drawn.length) [this.#drawn, this.#at] = [this.#rng.uniforms(32), 0];
    return Math.min(n - 1, Math.floor(this.#drawn[this.#at++]! * n));
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  /** One to three changes of bytes: flipped, set, overwritten by a number, cut, left out, doubled, moved in, or all of them gone. */
  bytes(from: Uint8Array): Uint8Array<ArrayBuffer> {
    let out = Uint8Array.from(from);
    for (let i = this.below(3); i >= 0; i--) out = this.#changedBytes(out);
    return out;
  }

  #changedBytes(from: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    const size = from.length;
    // Headers stand at the beginning, and the directory of an archive at the end.
    const at = Math.min(Math.max(0, size - 1), this.pick([this.below(size + 1), this.below(64), Math.max(0, size - 1 - this.below(96))]));
    const to = Math.min(size, at + 1 + this.below(this.pick([4, 64, size + 1])));
    const joined = (...parts: Uint8Array[]): Uint8Array<ArrayBuffer> => Uint8Array.from(parts.flatMap((part) => [...part]));
    const [before, part, after] = [from.subarray(0, at), from.subarray(at, to), from.subarray(to)];
    switch (this.below(9)) {
      case 0:
      case 1:
        if (size > 0) from[at]! ^= 1 << this.below(8);
        return from;
      case 2:
        if (size > 0) from[at] = this.pick([0, 1, 0x20, 0x7f, 0x80, 0xff, this.below(256)]);
        return from;
      case 3:
      case 4:
        return this.#overwritten(from, at);
      case 5:
        return this.pick([before, after, joined(before, after)]).slice() as Uint8Array<ArrayBuffer>;
      case 6:
        return joined(before, part, part, after);
      case 7:
        return joined(before, from.subarray(this.below(size + 1)).subarray(0, part.length), after);
      default:
        return this.below(20) === 0 ? new Uint8Array() : joined(before, new TextEncoder().encode(this.pick(WORDS)), part, after);
    }
  }

  /** A number of 2, 4 or 8 bytes in either order. */
  #overwritten(from: Uint8Array<ArrayBuffer>, at: number): Uint8Array<ArrayBuffer> {
    const [width, little] = [this.pick([2, 4, 8]), this.below(2) === 0];
    if (at + width > from.length) return from;
    const view = new DataView(from.buffer);
    const value = this.pick([...LARGEST, this.below(1000), from.length, from.length * 1000]);
    if (width === 2) view.setUint16(at, value, little);
    else if (width === 4) view.setUint32(at, value, little);
    else view.setBigUint64(at, this.pick([BigInt(value), 2n ** 63n, 2n ** 64n - 1n, 2n ** 53n]), little);
    return from;
  }

  /** A changed text: its numbers, letters, brackets, its length. */
  text(from: string): string {
    const at = this.below(from.length + 1);
    const to = Math.min(from.length, at + 1 + this.below(this.pick([1, 8, from.length + 1])));
    const [before, part, after] = [from.slice(0, at), from.slice(at, to), from.slice(to)];
    switch (this.below(12)) {
      case 0:
        return before + after;
      case 1:
        return before + part + part + after;
      case 2:
        return before + this.pick(WORDS) + after;
      case 3:
        return before + this.pick(WORDS) + part + after;
      case 4:
      case 5: {
        const numbers = [...from.matchAll(/-?\d+(?:\.\d+)?/g)];
        if (numbers.length === 0) return before + this.pick(NUMBERS) + after;
        const { index, 0: number } = this.pick(numbers);
        return from.slice(0, index) + this.pick(NUMBERS) + from.slice(index + number.length);
      }
      case 6:
        return this.below(10) === 0 ? before + this.pick(['[', '{"a":', '{a: ', '(']).repeat(DEEP) + after : before;
      case 7:
        return this.below(10) === 0 ? before + this.pick(['a', 'é', '0', ' ', '[]', '💥']).repeat(DEEP) + after : from.toUpperCase();
      case 8:
        return before + String.fromCharCode(this.below(this.pick([0x20, 0x100, 0x10000]))) + after;
      case 9:
        return this.pick(['', ...WORDS, ...NUMBERS]);
      case 10:
        return before + [...part].reverse().join('') + after;
      default:
        return this.text(this.text(from));
    }
  }

  /** A JSON value as a text with one or two changes: a key renamed, doubled or gone, a value of another type, an extreme number, deep nesting; or a changed text. */
  json(value: unknown): string {
    let part = partOf(value);
    for (let i = this.below(2); i >= 0; i--) part = this.#changedPart(part);
    const text = textOf(part);
    return this.below(4) === 0 ? this.text(text) : text;
  }

  #changedPart(root: Part): Part {
    const places: Part[] = [];
    const collect = (part: Part): void => {
      places.push(part);
      if ('pairs' in part) part.pairs.forEach(([, inner]) => collect(inner));
      if ('items' in part) part.items.forEach(collect);
    };
    collect(root);
    const groups = places.filter((part) => ('pairs' in part ? part.pairs.length > 0 : 'items' in part && part.items.length > 0));
    if (groups.length === 0) return this.#strange();
    const group = this.pick(groups);
    if ('pairs' in group) this.#changePairs(group.pairs, this.below(group.pairs.length), places);
    else if ('items' in group) this.#changeItems(group.items, this.below(group.items.length), places);
    return root;
  }

  #changePairs(pairs: [string, Part][], at: number, places: readonly Part[]): void {
    const [key, value] = pairs[at]!;
    const act = this.below(8);
    if (act === 0) pairs.splice(at, 1);
    else if (act === 1) pairs[at] = [this.text(key), value];
    else if (act === 2) pairs[at] = [this.pick(['__proto__', 'constructor', 'toString']), value];
    else if (act === 3) pairs.push([key, this.pick([value, this.#strange(), { text: textOf(this.pick(places)) }])]);
    else if (act === 4) pairs.push([this.pick(WORDS), value]);
    else pairs[at] = [key, this.#changedValue(value, places)];
  }

  #changeItems(items: Part[], at: number, places: readonly Part[]): void {
    const act = this.below(4);
    if (act === 0) items.splice(at, 1);
    else if (act === 1) items.push(items[at]!);
    else items[at] = this.#changedValue(items[at]!, places);
  }

  #changedValue(value: Part, places: readonly Part[]): Part {
    if (!('text' in value) || this.below(3) > 0) return this.below(4) === 0 ? { text: textOf(this.pick(places)) } : this.#strange();
    if (!value.text.startsWith('"')) return { text: this.pick(NUMBERS.filter((one) => /^-?\d/.test(one))) };
    return { text: JSON.stringify(this.text(JSON.parse(value.text) as string)) };
  }

  #strange(): Part {
    const deep = this.below(2) === 0 ? '['.repeat(DEEP) + ']'.repeat(DEEP) : '{"a":'.repeat(DEEP) + '0' + '}'.repeat(DEEP);
    const texts = ['null', 'true', '{}', '[]', '""', '[null]', '{"length":3}', JSON.stringify(this.pick(WORDS)), this.pick(NUMBERS), '-1', '1.5', '1e999', JSON.stringify('x'.repeat(5000))]; // prettier-ignore
    return { text: this.below(20) === 0 ? deep : this.pick(texts) };
  }
}

function partOf(value: unknown): Part {
  if (Array.isArray(value)) return { items: value.map(partOf) };
  if (value !== null && typeof value === 'object') return { pairs: Object.entries(value).map(([key, inner]) => [key, partOf(inner)]) };
  return { text: JSON.stringify(value) };
}

function textOf(part: Part): string {
  if ('items' in part) return `[${part.items.map(textOf).join(',')}]`;
  if ('pairs' in part) return `{${part.pairs.map(([key, value]) => `${JSON.stringify(key)}:${textOf(value)}`).join(',')}}`;
  return part.text;
}
