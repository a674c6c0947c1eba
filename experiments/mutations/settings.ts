import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { configKeys } from '@atelier/tensor';
import { z } from 'zod';
import { experiments } from '../src/registry.ts';
import { configHash, experimentConfig, parseConfig, resolveConfig } from '../src/runner/config.ts';
import type { Experiment } from '../src/runner/experiment.ts';
import { readJson } from '../src/runner/read-json.ts';
import { flatten } from '../src/runner/run-data.ts';
import { runRecordSchema, RunFolder } from '../src/runner/run-folder.ts';
import { planSweep } from '../src/sweep/sweep-plan.ts';
import type { Mutator } from './mutator.ts';
import type { MutatedKind } from './read.ts';

type Plain = Record<string, unknown>;
const chosen = (mutator: Mutator): { experiment: Experiment; preset: string } => {
  const experiment = mutator.pick(experiments);
  return { experiment, preset: mutator.pick(Object.keys(experiment.presets)) };
};

/** What is wrong about a configuration that was accepted: it must be the same when it is written and read again, and hold only keys of the schema. */
function wrongConfig(experiment: Experiment, config: unknown): string | undefined {
  const again: unknown = JSON.parse(JSON.stringify(config));
  // JSON has no -0, which is equal to 0.
  const zeros = (value: unknown): unknown =>
    Object.is(value, -0)
      ? 0
      : Array.isArray(value)
        ? value.map(zeros)
        : value !== null && typeof value === 'object'
          ? Object.fromEntries(Object.entries(value).map(([key, one]) => [key, zeros(one)]))
          : value;
  if (!isDeepStrictEqual(again, zeros(config))) return 'a configuration that JSON does not keep';
  if (configHash(parseConfig('again', experiment.schema, again)) !== configHash(config))
    return 'a configuration that changes when it is read again';
  const known = [...configKeys(experiment.schema).keys()];
  const stranger = Object.keys(flatten(config as Plain)).find((key) => !known.some((one) => key === one || key.startsWith(`${one}.`)));
  return stranger === undefined ? undefined : `a configuration with the key '${stranger}'`;
}

const at = (config: unknown, key: string): unknown =>
  key.split('.').reduce<unknown>((part, one) => (part as Plain | undefined)?.[one], config);

/** `key=value` words over every experiment and preset. */
export const overrides: MutatedKind = {
  name: 'key=value',
  share: 20,
  async open() {
    const keysOf = new Map(experiments.map((one) => [one, [...configKeys(one.schema)]]));
    const valid = new Map<string, Plain>();
    return (mutator) => {
      const { experiment, preset } = chosen(mutator);
      const plain = valid.get(`${experiment.name} ${preset}`) ?? (resolveConfig(experiment, preset, []) as unknown as Plain);
      valid.set(`${experiment.name} ${preset}`, plain);
      const [key, type] = mutator.pick(keysOf.get(experiment)!);
      const value = at(plain, key);
      const shown = typeof value === 'string' ? value : JSON.stringify(value ?? null);
      const mutated = { value: shown, key };
      if (mutator.below(6) === 0) mutated.key = mutator.text(key);
      else
        mutated.value = value !== null && typeof value === 'object' && mutator.below(2) === 0 ? mutator.json(value) : mutator.text(shown);
      const word = `${mutated.key}=${mutated.value}`;
      return {
        input: `${experiment.name} ${preset} ${word}`,
        read: () => resolveConfig(experiment, preset, [word]),
        wrong: (config: Plain) => wrongConfig(experiment, config) ?? wrongOverride(plain, config, { word, type }),
      };
    };
  },
};

/** The key must have the value that was typed, and the keys that are not below it the value of the preset. */
function wrongOverride(plain: Plain, config: Plain, { word, type }: { word: string; type: string | undefined }): string | undefined {
  const [key, text] = [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)];
  const [before, after] = [flatten(plain), flatten(config)];
  const moved = Object.keys(after).find((one) => before[one] !== after[one] && !`${one}.`.startsWith(`${key}.`));
  if (moved !== undefined && before[moved] !== undefined) return `changed '${moved}' also`;
  let typed: unknown;
  try {
    typed = type === 'string' ? text : (JSON.parse(text) as unknown);
  } catch {
    return undefined;
  }
  const group = typed !== null && typeof typed === 'object';
  return group || isDeepStrictEqual(at(config, key), Object.is(typed, -0) ? 0 : typed) || Object.is(at(config, key), typed)
    ? undefined
    : `gave '${key}' the value ${JSON.stringify(at(config, key))} for ${text.slice(0, 60)}`;
}

/** The words of a sweep. */
export const sweepWords: MutatedKind = {
  name: 'words of a sweep',
  share: 4,
  async open() {
    const words = ['seed=0..2', 'parts=[images],[points]', 'seed=1,2,3', 'checkpointSeconds=1,2'];
    return (mutator) => {
      const { experiment, preset } = chosen(mutator);
      const word = mutator.text(mutator.pick(words));
      return {
        input: word,
        read: () => planSweep(experiment, preset, ['seed=7', word], 'grid'),
        wrong: ({ jobs }: ReturnType<typeof planSweep>) => {
          const hashes = jobs.map(({ words: all }) => configHash(resolveConfig(experiment, preset, all)));
          if (new Set(hashes).size !== jobs.length) return 'two equal runs';
          return isDeepStrictEqual(
            hashes,
            jobs.map(({ configHash: one }) => one),
          )
            ? undefined
            : 'a run with the hash of another';
        },
      };
    };
  },
};

/** Whole configurations in a JSON file, as a run folder holds them. */
export const configurations: MutatedKind = {
  name: 'configuration in JSON',
  share: 10,
  async open(folder) {
    const path = join(folder, 'config.json');
    return (mutator) => {
      const { experiment, preset } = chosen(mutator);
      const text = mutator.json(resolveConfig(experiment, preset, []));
      return {
        input: text,
        read: () => {
          writeFileSync(path, text);
          return experimentConfig(path, experiment, readJson(path, z.json()));
        },
        wrong: (config: unknown) => wrongConfig(experiment, config) ?? wrongJson(text),
      };
    };
  },
};

/** `run.json`, with the hash that belongs to its configuration in half of the cases. */
export const runRecords: MutatedKind = {
  name: 'run.json',
  share: 8,
  async open(folder) {
    const experiment = experiments[0]!;
    const config = resolveConfig(experiment, 'smoke', []) as unknown as Plain;
    const record = {
      id: 'meanflow-smoke-20260101-000000',
      experiment: experiment.name,
      preset: 'smoke',
      words: ['seed=0'],
      config: { seed: 0, parts: config['parts'] },
      configHash: configHash({ seed: 0, parts: config['parts'] }),
      seed: 0,
      engine: { name: 'ort', device: 'cpu', threads: 2 },
      commit: 'unknown',
      machine: 'a machine',
      versions: { node: '20' },
      status: 'interrupted',
      started: '2026-01-01T00:00:00.000Z',
      resumed: 0,
    };
    return (mutator) => {
      const text = mutator.json(record);
      return {
        input: text,
        read: () => {
          writeFileSync(join(folder, 'run.json'), text);
          return RunFolder.at(folder).record;
        },
        wrong: (found: unknown) => {
          // What UTF-8 cannot hold is read as a mark.
          if (!isDeepStrictEqual(found, JSON.parse(Buffer.from(text).toString()))) return 'another record than the text says';
          if (!runRecordSchema.safeParse(JSON.parse(text)).success) return 'a record that is none';
          return wrongJson(text);
        },
      };
    };
  },
};

/** A JSON text in which a key stands twice in one object has no certain meaning. Reads character by character. */
export function wrongJson(text: string): string | undefined {
  const open: (Set<string> | 'list')[] = [];
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!;
    if (char === '{') open.push(new Set());
    else if (char === '[') open.push('list');
    else if (char === '}' || char === ']') open.pop();
    else if (char === '"') {
      const from = i;
      for (i++; text[i] !== '"'; i++) if (text[i] === '\\') i++;
      const keys = open.at(-1);
      if (/^\s*:/.test(text.slice(i + 1, i + 40)) && keys instanceof Set) {
        const key = JSON.parse(text.slice(from, i + 1)) as string;
        if (keys.has(key)) return `the key '${key}' twice in one object`;
        keys.add(key);
      }
    }
  }
  return undefined;
}
