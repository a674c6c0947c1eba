import { z } from 'zod';
import { shown } from './shown.ts';

type JsonSchema = {
  type?: string;
  properties?: Record<string, JsonSchema>;
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  allOf?: JsonSchema[];
};

/** A setting that does not fit a schema: its dotted path, what was wanted there and what was given. */
export type SettingIssue = { path: string; reason: string };

/**
 * Reads settings with a zod schema.
 * @throws Error with one sentence that names each wrong setting, what was wanted and what was given.
 */
export function parseConfig<Schema extends z.ZodType>(schema: Schema, value: unknown, where: string): z.output<Schema> {
  const result = readSettings(schema, value);
  if (!('issues' in result)) return result.settings;
  throw new Error(`${where}: ${result.issues.map(({ path, reason }) => (path === '' ? reason : `${path}: ${reason}`)).join('; ')}`);
}

/** The complete settings, or a list of all settings that do not fit. */
export function readSettings<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
): { settings: z.output<Schema> } | { issues: SettingIssue[] } {
  const result = schema.safeParse(value, { error: (issue) => wording(schema, issue) });
  if (result.success) return { settings: result.data };
  return { issues: result.error.issues.map(({ path, message }) => ({ path: path.map(String).join('.'), reason: message })) };
}

const known = new WeakMap<z.ZodType, ReadonlyMap<string, string | undefined>>();

/** The keys of an object schema as dotted paths, each with its JSON type if it has one. Groups come before their members. */
export function configKeys(schema: z.ZodType): ReadonlyMap<string, string | undefined> {
  const before = known.get(schema);
  if (before !== undefined) return before;
  const keys = new Map<string, string | undefined>();
  const visit = (node: JsonSchema, path: string): void => {
    if (path !== '') keys.set(path, node.type ?? keys.get(path));
    for (const part of [...(node.anyOf ?? []), ...(node.oneOf ?? []), ...(node.allOf ?? [])]) visit(part, path);
    for (const [key, child] of Object.entries(node.properties ?? {})) visit(child, path === '' ? key : `${path}.${key}`);
  };
  visit(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any', reused: 'inline' }) as JsonSchema, '');
  known.set(schema, keys);
  return keys;
}

/** A message like `wanted a whole number >= 1, got -3`. If it is undefined, zod's own message is used. */
function wording(schema: z.ZodType, issue: z.core.$ZodRawIssue): string | undefined {
  // zod's range check does not know that the number must be whole.
  const whole = configKeys(schema).get((issue.path ?? []).map(String).join('.')) === 'integer';
  const wanted = wantedBy(issue, whole);
  if (wanted === undefined) return undefined;
  return `wanted ${wanted}, got ${issue.code === 'unrecognized_keys' ? shown(issue.keys[0]) : shown(issue.input)}`;
}

function wantedBy(issue: z.core.$ZodRawIssue, whole: boolean): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return whole ? TYPE_WORDS['int'] : (TYPE_WORDS[issue.expected] ?? issue.expected);
    case 'too_small':
      return bound(whole ? 'int' : issue.origin, issue.minimum, issue.inclusive === false ? '>' : '>=', 'at least');
    case 'too_big':
      return bound(whole ? 'int' : issue.origin, issue.maximum, issue.inclusive === false ? '<' : '<=', 'at most');
    case 'invalid_value':
      return issue.values.length === 1 ? shown(issue.values[0]) : `one of ${issue.values.map(shown).join(', ')}`;
    case 'unrecognized_keys':
      return 'only known keys';
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
