export type Setting = number | boolean | string | number[];

/** `8`, `-1e-4`, `8/3` → number; `True`, `false` → boolean; `[2, 2]`, `(4, 4, 4)` → list of numbers; everything else stays a string. */
export function parseSetting(text: string): Setting {
  const value = text.trim();
  if (/^(true|false)$/i.test(value)) return value.toLowerCase() === 'true';
  const list = /^(?:\[(.*)\]|\((.*)\))$/.exec(value);
  if (list) {
    // Python writes a tuple with one entry as (4,).
    const items = (list[1] ?? list[2])!.replace(/,\s*$/, '').split(',');
    const numbers = items.map((item) => parseNumber(item.trim()));
    if (list[1]?.trim() === '' || list[2]?.trim() === '') return [];
    return numbers.every((n) => n !== undefined) ? numbers : value;
  }
  return parseNumber(value) ?? value;
}

/** `a=1;b=cfg;c=[2, 2]` as a record. Without semicolons, the settings are separated by blanks or commas outside brackets. @throws Error for other forms. */
export function parseSettings(text: string, where: string): Record<string, Setting> {
  const bySemicolon = text.split(';').filter((piece) => piece.trim() !== '');
  const byBlank = text.split(/[\s,]+(?![^[(]*[\])])/).filter((piece) => piece !== '');
  const pieces = bySemicolon.length === 1 && byBlank.every((piece) => isSetting(piece)) ? byBlank : bySemicolon;
  const out = new Map<string, Setting>();
  for (const piece of pieces) {
    if (!isSetting(piece)) throw new Error(`${where}: wanted settings like 'a=1;b=text', got '${piece.trim()}' in '${text}'`);
    const at = piece.indexOf('=');
    const name = piece.slice(0, at).trim();
    if (out.has(name)) throw new Error(`${where}: wanted every setting once, got '${name}' twice in '${text}'`);
    out.set(name, parseSetting(piece.slice(at + 1)));
  }
  if (out.size === 0) throw new Error(`${where}: wanted settings like 'a=1;b=text', got '${text}'`);
  return Object.fromEntries(out);
}

const isSetting = (piece: string): boolean => /^\s*[^\s=]+\s*=/.test(piece);

function parseNumber(text: string): number | undefined {
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return Number(text);
  const fraction = /^(-?\d+)\/(\d+)$/.exec(text);
  if (fraction) return Number(fraction[1]) / Number(fraction[2]);
  return undefined;
}
