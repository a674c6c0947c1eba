/** Characters of a value from outside in a message at most. */
const MOST = 200;

/**
 * A text from outside as one line that is safe to print: control characters (line breaks, and the codes that move the cursor of a terminal or change its colours) and the
 * marks that turn the direction of writing stand as `\u001b`.
 */
export const plainText = (text: string): string =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g, (char) =>
    char === '\t' ? ' ' : `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

/** A value from outside as a message shows it: texts in quotes, other values as JSON, on one line, and a long one cut. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return `'${cut(value)}'`;
  if (value === undefined) return 'nothing';
  if (value === null || typeof value !== 'object') return cut(String(value));
  try {
    return cut(JSON.stringify(value));
  } catch {
    return 'a value that is nested too deeply';
  }
}

function cut(text: string): string {
  const plain = plainText(text.slice(0, MOST));
  return text.length > MOST || plain.length > 2 * MOST ? `${plain.slice(0, 2 * MOST)}…` : plain;
}
