import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { configKeys, parseConfig } from '../src/index.ts';

const schema = z.strictObject({
  width: z.int().min(1).default(8),
  rate: z.number().gt(0).optional(),
  mode: z.enum(['fast', 'exact']).default('fast'),
  names: z.array(z.string()).min(1).default(['a']),
  group: z.strictObject({ step: z.int().multipleOf(4).default(4) }).prefault({}),
});

describe('parseConfig', () => {
  it('fills in what is not given', () => {
    expect(parseConfig(schema, {}, 'f')).toEqual({ width: 8, mode: 'fast', names: ['a'], group: { step: 4 } });
  });

  it.each([
    [{ width: 'x' }, "f: width: wanted a whole number, got 'x'"],
    [{ width: 2.5 }, 'f: width: wanted a whole number, got 2.5'],
    [{ width: 0 }, 'f: width: wanted a whole number >= 1, got 0'],
    [{ rate: 0 }, 'f: rate: wanted a number > 0, got 0'],
    [{ rate: NaN }, 'f: rate: wanted a number, got NaN'],
    [{ mode: 'slow' }, "f: mode: wanted one of 'fast', 'exact', got 'slow'"],
    [{ names: [] }, 'f: names: wanted a list of at least 1 items, got []'],
    [{ names: ['a', 3] }, 'f: names.1: wanted a text, got 3'],
    [{ group: 3 }, 'f: group: wanted a group of keys, got 3'],
    [{ group: { step: 6 } }, 'f: group.step: wanted a multiple of 4, got 6'],
    [3, 'f: wanted a group of keys, got 3'],
    [undefined, 'f: wanted a group of keys, got nothing'],
    [{ width: 0, mode: 1 }, "f: width: wanted a whole number >= 1, got 0; mode: wanted one of 'fast', 'exact', got 1"],
  ])('%j', (value, words) => {
    expect(() => parseConfig(schema, value, 'f')).toThrow(new Error(words));
  });
});

it('configKeys lists the keys of all groups with their types', () => {
  expect([...configKeys(schema)]).toEqual([
    ['width', 'integer'],
    ['rate', 'number'],
    ['mode', 'string'],
    ['names', 'array'],
    ['group', 'object'],
    ['group.step', 'integer'],
  ]);
});
