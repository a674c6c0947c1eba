/** `pnpm --filter @atelier/tensor derivatives [random cases] [seed]`: checks all derivatives on `ort` and `cpu` and writes the lists of DERIVATIVES.md. */
import { readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { ownGradients } from '../../src/gradients/index.ts';
import { tf, useEngine } from '../../src/index.ts';
import { cases } from './cases.ts';
import { differences, expectDerivatives, name } from './check.ts';
import type { Case } from './draw.ts';
import { randomCase } from './random-cases.ts';

const ENGINES = ['ort', 'cpu'] as const;
const [count = 300, seed = 1] = process.argv.slice(2).map(Number);
const random = fc.sample(randomCase, { numRuns: count, seed });

/** How many cases of each kernel agree, and what does not. */
async function check(list: readonly Case[]): Promise<{ agree: Map<string, number>; wrong: string[] }> {
  const agree = new Map<string, number>();
  const wrong: string[] = [];
  for (const at of list) {
    await useEngine('cpu');
    const expected = tf.tidy(() => differences(at));
    try {
      for (const engine of ENGINES) {
        await useEngine(engine);
        expectDerivatives(at, expected);
      }
      agree.set(at.kernel, (agree.get(at.kernel) ?? 0) + 1);
    } catch (error) {
      wrong.push(`${name(at)}: ${(error as Error).message}`);
    }
  }
  return { agree, wrong };
}

const file = new URL('../../DERIVATIVES.md', import.meta.url);
let text = readFileSync(file, 'utf8');
/** Replaces what stands under a heading after its first `keep` paragraphs. */
function write(heading: string, body: string, keep = 0): void {
  const start = text.indexOf(`## ${heading}\n`);
  if (start < 0) throw new Error(`DERIVATIVES.md: wanted the heading "${heading}", got none`);
  const end = text.indexOf('\n## ', start) < 0 ? text.length : text.indexOf('\n## ', start);
  const paragraphs = text.slice(start, end).trimEnd().split('\n\n').slice(0, keep + 1); // prettier-ignore
  text = `${text.slice(0, start)}${[...paragraphs, body].join('\n\n')}\n${text.slice(end)}`;
}

const fixed = await check(cases);
const drawn = await check(random);
const own = new Set(ownGradients().map(({ kernelName }) => kernelName));
const checked = [...new Set([...cases, ...random].map(({ kernel }) => kernel))].sort();
const rows = checked.map((kernel) => `| \`${kernel}\` | ${own.has(kernel) ? 'own' : 'of TensorFlow.js'} | ${fixed.agree.get(kernel) ?? 0} | ${drawn.agree.get(kernel) ?? 0} |`); // prettier-ignore
write('How often each was checked', [
  `Written by \`pnpm --filter @atelier/tensor derivatives ${count} ${seed}\`: ${cases.length} fixed cases and ${count} random ones, on ${ENGINES.join(' and ')}; ${fixed.wrong.length + drawn.wrong.length} disagree.`,
  ['| kernel | derivative | fixed cases that agree | random cases that agree |', '| --- | --- | --- | --- |', ...rows].join('\n'),
].join('\n\n')); // prettier-ignore
const kernels = [...new Set(ENGINES.flatMap((engine) => tf.getKernelsForBackend(engine).map(({ kernelName }) => kernelName)))].sort();
const list = (names: string[]): string => `${names.map((kernel) => `\`${kernel}\``).join(', ')}.`;
write('Without a derivative', list(kernels.filter((kernel) => tf.getGradient(kernel) === undefined)), 1);
writeFileSync(file, text);
for (const line of [...fixed.wrong, ...drawn.wrong]) console.log(line);
console.log(`${cases.length} fixed and ${count} random cases, ${fixed.wrong.length + drawn.wrong.length} disagree`);
process.exitCode = fixed.wrong.length + drawn.wrong.length === 0 ? 0 : 1;
