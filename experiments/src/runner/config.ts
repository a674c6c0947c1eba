import { createHash } from 'node:crypto';
import { configKeys, readSettings, showSetting } from '@atelier/tensor';
import { parse as parseYaml } from 'yaml';
import type { z } from 'zod';
import { StopError } from './errors.ts';
import type { BaseConfig, Experiment } from './experiment.ts';
import { checkLimits } from './limits.ts';
import { unknown } from '@atelier/tensor';

type Plain = { [key: string]: unknown };
/**
 * The complete, checked configuration of `preset` after the `key=value` words were applied to it.
 *
 * Keys are dotted paths, values are YAML (`steps=100`, `model.width=64`, `ratios=[0.25, 0.5]`, `guided=true`).
 * @throws StopError with one sentence: an unknown preset or key (with the nearest name), or for a wrong value (also one above the limit of its key) the path,
 * what was wanted and what was given.
 */
export function resolveConfig<Config extends BaseConfig>(experiment: Experiment<Config>, preset: string, words: readonly string[]): Config {
  const presets = Object.keys(experiment.presets);
  if (!presets.includes(preset)) throw new StopError(unknown(`preset of ${experiment.name}`, preset, presets));
  let plain = structuredClone(experiment.presets[preset]) as Plain;
  const keys = configKeys(experiment.schema);
  checkKeys(experiment.name, plain, keys);
  for (const word of words) plain = overlay(plain, parseWord(experiment.name, word, keys)) as Plain;
  const config = parseConfig(experiment.name, experiment.schema, plain);
  checkLimits(experiment.name, config);
  return config;
}

/** Checks a plain value against a schema. @throws StopError naming path, wanted and got of the first thing wrong. */
export function parseConfig<T>(where: string, schema: z.ZodType<T>, plain: unknown): T {
  const result = readSettings(schema, plain);
  if (!('issues' in result)) return result.settings;
  const { path, reason } = result.issues[0]!;
  // If the experiment's own check refuses a value, its message says only what was wanted; what was given is added here.
  const got = reason.includes(', got ') ? '' : `, got ${showSetting(valueAt(plain, path))}`;
  throw new StopError(`${where}: ${path === '' ? '' : `'${path}': `}${reason}${got}`);
}

const valueAt = (plain: unknown, path: string): unknown =>
  path.split('.').reduce<unknown>((part, key) => (path === '' ? part : (part as Plain | undefined)?.[key]), plain);

/** SHA-256 of the configuration with its keys sorted, 64 hexadecimal digits. */
export function configHash(config: unknown): string {
  const sorted = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(sorted);
    if (value === null || typeof value !== 'object') return value;
    return Object.fromEntries(
      Object.keys(value)
        .sort()
        .map((key) => [key, sorted((value as Plain)[key])]),
    );
  };
  return createHash('sha256')
    .update(JSON.stringify(sorted(config)))
    .digest('hex');
}

/** `a.b=3` as `{ a: { b: 3 } }`. */
function parseWord(name: string, word: string, keys: ReadonlyMap<string, string | undefined>): Plain {
  const equals = word.indexOf('=');
  if (equals < 1) throw new StopError(`${name}: wanted key=value, got '${word}'`);
  const [key, text] = [word.slice(0, equals), word.slice(equals + 1)];
  if (!keys.has(key)) throw new StopError(unknown(`key of ${name}`, key, [...keys.keys()]));
  let value: unknown;
  try {
    // A string such as 007 or true must stay a string if the schema wants a string.
    value = keys.get(key) === 'string' ? text : parseYaml(text);
  } catch {
    throw new StopError(`${name}: '${key}': wanted a value in YAML, got '${text}'`);
  }
  const plain = key.split('.').reduceRight<unknown>((inner, part) => ({ [part]: inner }), value) as Plain;
  checkKeys(name, plain, keys);
  return plain;
}

function checkKeys(name: string, plain: unknown, keys: ReadonlyMap<string, string | undefined>, path = ''): void {
  if (plain === null || typeof plain !== 'object' || Array.isArray(plain)) return;
  // A group without listed keys is a record with arbitrary keys.
  if (path !== '' && ![...keys.keys()].some((key) => key.startsWith(`${path}.`))) return;
  for (const [key, value] of Object.entries(plain)) {
    const full = path === '' ? key : `${path}.${key}`;
    if (!keys.has(full)) throw new StopError(unknown(`key of ${name}`, full, [...keys.keys()]));
    checkKeys(name, value, keys, full);
  }
}

/** `below` with the values of `above`: records are merged, everything else is replaced. */
function overlay(below: unknown, above: unknown): unknown {
  const isRecord = (value: unknown): value is Plain => value !== null && typeof value === 'object' && !Array.isArray(value);
  if (!isRecord(below) || !isRecord(above)) return above;
  const out: Plain = { ...below };
  for (const [key, value] of Object.entries(above)) out[key] = overlay(below[key], value);
  return out;
}
