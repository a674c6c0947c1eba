import { shown } from './shown.ts';

/** Levels of nesting at most. What reads the value may call itself for each level, and must not run out of stack. */
const DEEPEST = 100;

/**
 * Reads a JSON text from outside. A key that stands twice in one object is refused: `JSON.parse` would keep only the last one and give no error.
 * @throws Error with one sentence that begins with `where`
 */
export function parseJson(text: string, where: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(`${where}: wanted JSON, got ${text === '' ? 'an empty text' : shown(text.slice(0, 40))}`);
  }
  checkKeys(text, where);
  return value;
}

/** The text is valid JSON. */
function checkKeys(json: string, where: string): void {
  const open: (Set<string> | undefined)[] = [];
  // In valid JSON, a string before a colon is a key, and brackets outside of strings are always closed in the right order.
  for (const [token, key] of json.matchAll(/[{}[\]]|("[^"\\]*(?:\\.[^"\\]*)*")(?:\s*:)?/gs)) {
    if (token === '{' || token === '[') {
      open.push(token === '{' ? new Set() : undefined);
      if (open.length > DEEPEST) throw new Error(`${where}: wanted JSON of at most ${DEEPEST} levels, got more`);
    } else if (token === '}' || token === ']') open.pop();
    else if (token.endsWith(':') && key !== token) {
      const name = JSON.parse(key!) as string;
      const seen = open.at(-1)!;
      if (seen.has(name)) throw new Error(`${where}: wanted every key once, got ${shown(name)} twice`);
      seen.add(name);
    }
  }
}
