import { createHash } from 'node:crypto';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { StopError } from './errors.ts';
import type { BaseConfig, Experiment } from './experiment.ts';
import { unknown } from '@atelier/tensor';

type Plain = { [key: string]: unknown };
type JsonSchema = {
  type?: string;
  properties?: Record<string, JsonSchema>;
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  allOf?: JsonSchema[];
};

/**
 * The complete, checked configuration of `preset` with the `key=value` words laid over it.
 *
 * Keys are dotted paths, values are YAML (`steps=100`, `model.width=64`, `ratios=[0.25, 0.5]`, `guided=true`).
 * @throws StopError with one sentence: unknown preset or key (the nearest is named), or path, wanted, got.
 */
export function resolveConfig<Config extends BaseConfig>(experiment: Experiment<Config>, preset: string, words: readonly string[]): Config {
  const presets = Object.keys(experiment.presets);
  if (!presets.includes(preset)) throw new StopError(unknown(`preset of ${experiment.name}`, preset, presets));
  let plain = structuredClone(experiment.presets[preset]) as Plain;
  const keys = configKeys(experiment.schema);
  checkKeys(experiment.name, plain, keys);
  for (const word of words) plain = overlay(plain, parseWord(experiment.name, word, keys)) as Plain;
  return parseConfig(experiment.name, experiment.schema, plain);
}

/** Checks a plain value against a schema. @throws StopError naming path, wanted and got of the first thing wrong. */
export function parseConfig<T>(where: string, schema: z.ZodType<T>, plain: unknown): T {
  const result = schema.safeParse(plain);
  if (result.success) return result.data;
  throw new StopError(`${where}: ${issueSentence(result.error.issues[0]!, plain, schema)}`);
}

/** `'model.width': wanted a whole number >= 1, got -3` */
function issueSentence(issue: z.core.$ZodIssue, plain: unknown, schema: z.ZodType): string {
  const path = issue.path.map(String).join('.');
  const place = path === '' ? '' : `'${path}': `;
  let got: unknown = plain;
  for (const key of issue.path) got = (got as Plain | undefined)?.[key as string];
  const wanted = describeIssue(issue, configKeys(schema).get(path) === 'integer');
  return wanted === undefined ? `${place}${issue.message}, got ${show(got)}` : `${place}wanted ${wanted}, got ${show(got)}`;
}

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

/** The keys of an object schema as dotted paths, groups before their members, each with its JSON type where it has one. */
export function configKeys(schema: z.ZodType): Map<string, string | undefined> {
  const keys = new Map<string, string | undefined>();
  const visit = (node: JsonSchema, path: string): void => {
    if (path !== '') keys.set(path, node.type ?? keys.get(path));
    for (const part of [...(node.anyOf ?? []), ...(node.oneOf ?? []), ...(node.allOf ?? [])]) visit(part, path);
    for (const [key, child] of Object.entries(node.properties ?? {})) visit(child, path === '' ? key : `${path}.${key}`);
  };
  visit(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any', reused: 'inline' }) as JsonSchema, '');
  return keys;
}

/** `a.b=3` as `{ a: { b: 3 } }`. */
function parseWord(name: string, word: string, keys: ReadonlyMap<string, string | undefined>): Plain {
  const equals = word.indexOf('=');
  if (equals < 1) throw new StopError(`${name}: wanted key=value, got '${word}'`);
  const [key, text] = [word.slice(0, equals), word.slice(equals + 1)];
  if (!keys.has(key)) throw new StopError(unknown(`key of ${name}`, key, [...keys.keys()]));
  let value: unknown;
  try {
    // A text such as 007 or true must stay a text where the schema wants one.
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
  // A group that lists no keys of its own is a record with free keys.
  if (path !== '' && ![...keys.keys()].some((key) => key.startsWith(`${path}.`))) return;
  for (const [key, value] of Object.entries(plain)) {
    const full = path === '' ? key : `${path}.${key}`;
    if (!keys.has(full)) throw new StopError(unknown(`key of ${name}`, full, [...keys.keys()]));
    checkKeys(name, value, keys, full);
  }
}

/** `above` laid over `below`; records are merged, everything else is replaced. */
function overlay(below: unknown, above: unknown): unknown {
  const isRecord = (value: unknown): value is Plain => value !== null && typeof value === 'object' && !Array.isArray(value);
  if (!isRecord(below) || !isRecord(above)) return above;
  const out: Plain = { ...below };
  for (const [key, value] of Object.entries(above)) out[key] = overlay(below[key], value);
  return out;
}

function describeIssue(issue: z.core.$ZodIssue, whole: boolean): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return whole ? TYPE_WORDS['int'] : (TYPE_WORDS[issue.expected] ?? issue.expected);
    case 'too_small':
      return bound(whole ? 'int' : issue.origin, issue.minimum, issue.inclusive === false ? '>' : '>=', 'at least');
    case 'too_big':
      return bound(whole ? 'int' : issue.origin, issue.maximum, issue.inclusive === false ? '<' : '<=', 'at most');
    case 'invalid_value':
      return issue.values.length === 1 ? show(issue.values[0]) : `one of ${issue.values.map(show).join(', ')}`;
    case 'not_multiple_of':
      return `a multiple of ${issue.divisor}`;
    default:
      return undefined;
  }
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  int: 'a whole number',
  number: 'a number',
  string: 'a text',
  boolean: 'true or false',
  array: 'a list',
  tuple: 'a list',
  object: 'a group of keys',
  record: 'a group of keys',
};

function bound(origin: string, limit: number | bigint, sign: string, words: string): string {
  if (origin === 'string') return `a text of ${words} ${limit} characters`;
  if (origin === 'array' || origin === 'set') return `a list of ${words} ${limit} items`;
  return `a ${origin === 'int' ? 'whole number' : 'number'} ${sign} ${limit}`;
}

function show(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`;
  return value === undefined ? 'nothing' : typeof value === 'number' ? String(value) : JSON.stringify(value);
}
