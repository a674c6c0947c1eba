/**
 * The first key that occurs twice in one object of a valid JSON text, or `undefined`. `JSON.parse` keeps only the last of equal keys and
 * gives no error. So a tensor of a damaged file would be lost unnoticed.
 */
export function repeatedKey(json: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  // In valid JSON, a string before a colon is a key, and brackets outside of strings are always closed in the right order.
  for (const [token, key] of json.matchAll(/[{}[\]]|("[^"\\]*(?:\\.[^"\\]*)*")(?:\s*:)?/gs)) {
    if (token === '{') open.push(new Set());
    else if (token === '[') open.push(undefined);
    else if (token === '}' || token === ']') open.pop();
    else if (token.endsWith(':') && key !== token) {
      const name = JSON.parse(key!) as string;
      const seen = open.at(-1)!;
      if (seen.has(name)) return name;
      seen.add(name);
    }
  }
  return undefined;
}
