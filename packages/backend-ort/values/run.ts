/** `pnpm --filter @atelier/backend-ort values [inputs]`: measures the error of every float kernel and writes the table in CONFORMANCE.md. */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { registerOrt } from '../src/register.ts';
import { tf } from '../src/tf.ts';
import { withErrors } from './section.ts';
import { rows } from './table.ts';

const inputs = Number(process.argv[2] ?? 200_000);
const SEEDS = [1, 2];
registerOrt();
await tf.setBackend('ort');
const file = new URL('../CONFORMANCE.md', import.meta.url);
const measured = await rows(inputs, SEEDS);
const before = readFileSync(file, 'utf8');
writeFileSync(file, withErrors(before, measured, SEEDS.length * inputs, cpus()[0]!.model.trim()));
const over = measured.filter(([, , bound, error]) => Number.parseFloat(error) > Number(bound) + 0.005);
for (const [kernel, about, bound, error] of over) console.log(`${kernel} ${about}: wanted at most ${bound} ulp, got ${error}`);
console.log(`${measured.length} rows, ${over.length} above their bound`);
if (over.length > 0) process.exitCode = 1;
