/**
 * A text from outside as one line that is safe to print: control characters (line breaks, and the codes that move the cursor of a terminal or change its colours) and the
 * marks that turn the direction of writing stand as `\u001b`.
 */
export const plainText = (text: string): string =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (char) =>
    char === '\t' ? ' ' : `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
