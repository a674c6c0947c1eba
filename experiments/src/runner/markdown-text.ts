import { plainText } from '@atelier/tensor';

/** A text from outside inside of Markdown, also in a cell of a table: on one line, no HTML, no link, no new cell. */
export const markdownText = (text: string): string =>
  plainText(text.replace(/\s*\n\s*/g, ' '))
    .replace(/<(?=[a-z/!?])/gi, '&lt;')
    .replaceAll('](', ']\\(')
    .replaceAll('|', '\\|');
