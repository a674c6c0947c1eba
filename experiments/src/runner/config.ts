import { createHash } from 'node:crypto';
import { configKeys, readSettings, shown, unknown } from '@atelier/tensor';
import { isScalar, parseDocument, visit, type Document } from 'yaml';
import type { z } from 'zod';
import { StopError } from './errors.ts';
import type { BaseConfig, Experiment } from './experiment.ts';
import { checkLimits } from './limits.ts';

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
  const stated = experiment.presets[preset] as Plain;
  const keys = configKeys(experiment.schema);
  checkKeys(experiment.name, stated, keys);
  // Words are laid over the complete configuration: a group that the preset leaves to the schema keeps the values that a word does not name.
  let plain: unknown = experimentConfig(experiment.name, experiment, stated);
  for (const word of words) plain = overlay(plain, parseWord(experiment.name, word, keys));
  // What runs is what `run.json` keeps: JSON has no -0, for example.
  return JSON.parse(JSON.stringify(experimentConfig(experiment.name, experiment, plain))) as Config;
}

/**
 * A configuration of an experiment, complete and checked. Limits come first: the own checks of an experiment may do work that grows with its sizes.
 * @throws StopError as `parseConfig`, or for a value above the limit of its key
 */
export function experimentConfig<Config extends BaseConfig>(
  where: string,
  { schema }: Pick<Experiment<Config>, 'schema'>,
  plain: unknown,
): Config {
  checkLimits(where, plain);
  return parseConfig(where, schema, plain);
}

/** Checks a plain value against a schema. @throws StopError naming path, wanted and got of the first thing wrong. */
export function parseConfig<T>(where: string, schema: z.ZodType<T>, plain: unknown): T {
  const result = readSettings(schema, plain);
  if (!('issues' in result)) return result.settings;
  const { path, reason } = result.issues[0]!;
  // If the experiment's own check refuses a value, its message says only what was wanted; what was given is added here.
  const got = reason.includes(', got ') ? '' : `, got ${shown(path === '' ? plain : valueAt(plain, path.split('.')))}`;
  throw new StopError(`${where}: ${path === '' ? '' : `${shown(path)}: `}${reason}${got}`);
}

const valueAt = (plain: unknown, path: readonly string[]): unknown =>
  path.reduce<unknown>((part, key) => (part as Plain | null | undefined)?.[key], plain);

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
  if (equals < 1) throw new StopError(`${name}: wanted key=value, got ${shown(word)}`);
  const [key, text] = [word.slice(0, equals), word.slice(equals + 1)];
  if (!keys.has(key)) throw new StopError(unknown(`key of ${name}`, key, [...keys.keys()]));
  // A string such as 007 or true must stay a string if the schema wants a string.
  const value = keys.get(key) === 'string' ? text : parseYaml(`${name}: '${key}'`, text);
  const plain = key.split('.').reduceRight<unknown>((inner, part) => ({ [part]: inner }), value) as Plain;
  checkKeys(name, plain, keys);
  return plain;
}

/** Characters of a value at most: the parser of YAML needs much more time for many. */
const LONGEST = 4000;
/** Lists that begin within each other on one line: for thousands of them the parser takes all memory, and the process ends. */
const NESTED_LISTS = /(?:[-?]\s+){20}/;

/** @throws StopError for what is no YAML, or is not plain: tags, anchors, keys that are no texts, several documents */
function parseYaml(where: string, text: string): unknown {
  if (text.length > LONGEST) throw new StopError(`${where}: wanted at most ${LONGEST} characters, got ${text.length}`);
  try {
    const document = NESTED_LISTS.test(text) ? undefined : parseDocument(text, { logLevel: 'error' });
    // A warning is a tag that nothing is known of: its value would be taken as if there were none.
    if (document !== undefined && document.errors.length + document.warnings.length === 0 && isPlain(document)) return document.toJS();
  } catch {
    // More levels of brackets than the stack holds.
  }
  throw new StopError(`${where}: wanted a value in YAML, got ${shown(text)}`);
}

function isPlain(document: Document): boolean {
  let plain = true;
  visit(document, {
    Pair: (_, { key }) => void (plain &&= isScalar(key)),
    Alias: () => void (plain = false),
    Value: (_, { tag, anchor }) => void (plain &&= tag === undefined && anchor === undefined),
  });
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
