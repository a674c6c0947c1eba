import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { encodeSafetensors, useEngine } from '@atelier/tensor';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { golden } from '../src/index.ts';
import { parseSetting, parseSettings } from '../src/settings.ts';

const home = process.cwd();
const chosen = process.env['ATELIER_GOLDEN'];
let top: string;
let own: string;

beforeAll(async () => {
  await useEngine();
});
// A checkout with one package, and the whole set beside it.
beforeEach(() => {
  top = realpathSync(mkdtempSync(join(tmpdir(), 'atelier-')));
  own = join(top, 'checkout', 'packages', 'paper');
  mkdirSync(own, { recursive: true });
  writeFileSync(join(top, 'checkout', 'pnpm-workspace.yaml'), '');
  process.chdir(own);
  delete process.env['ATELIER_GOLDEN'];
});
afterEach(() => {
  process.chdir(home);
  if (chosen === undefined) delete process.env['ATELIER_GOLDEN'];
  else process.env['ATELIER_GOLDEN'] = chosen;
  rmSync(top, { recursive: true });
});

function put(path: string, value: number): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, encodeSafetensors({ x: { dtype: 'float32', shape: [1], data: Float32Array.of(value) } }));
}
const valueOf = (name: string): number => golden('paper').load(name).host('x').data[0]!;

describe('golden: where files are looked up', () => {
  it("in the package's own folder, then beside the checkout", () => {
    put(join(own, 'golden', 'a.safetensors'), 1);
    put(join(top, 'shared', 'golden', 'paper', 'a.safetensors'), 2);
    put(join(top, 'shared', 'golden', 'paper', 'b.safetensors'), 3);
    put(join(top, 'shared', 'golden', 'other', 'c.safetensors'), 4);
    writeFileSync(join(own, 'golden', 'README.md'), 'no golden file');
    const set = golden('paper');
    expect(set.dir).toBe(join(own, 'golden'));
    expect(set.files()).toEqual(['a', 'b']);
    expect([valueOf('a'), valueOf('b')]).toEqual([1, 3]);
    expect([set.has('a'), set.has('c')]).toEqual([true, false]);
  });

  it('in a folder named after the paper, where the package keeps several sets', () => {
    put(join(own, 'golden', 'paper', 'a.safetensors'), 1);
    put(join(own, 'golden', 'other', 'b.safetensors'), 2);
    expect(golden('paper').files()).toEqual(['a']);
    expect(golden('other').dir).toBe(join(own, 'golden', 'other'));
  });

  it('only beside the checkout, if the package has none', () => {
    put(join(top, 'shared', 'golden', 'paper', 'b.safetensors'), 3);
    expect(golden('paper').dir).toBe(join(top, 'shared', 'golden', 'paper'));
    expect(valueOf('b')).toBe(3);
  });

  it('only in $ATELIER_GOLDEN, if it is set', () => {
    put(join(own, 'golden', 'a.safetensors'), 1);
    put(join(top, 'shared', 'golden', 'paper', 'b.safetensors'), 3);
    put(join(top, 'fresh', 'paper', 'c.safetensors'), 5);
    process.env['ATELIER_GOLDEN'] = join(top, 'fresh');
    expect(golden('paper').files()).toEqual(['c']);
    expect(golden('paper').dir).toBe(join(top, 'fresh', 'paper'));
    expect(() => golden('other')).toThrow(`golden: wanted .safetensors files for 'other' in ${join(top, 'fresh', 'other')}, got none`);
  });

  it('and nowhere else: no folder or an empty one is an error', () => {
    const both = `${join(own, 'golden')} or ${join(top, 'shared', 'golden', 'paper')}`;
    expect(() => golden('paper')).toThrow(`golden: wanted .safetensors files for 'paper' in ${both}, got none`);
    mkdirSync(join(own, 'golden'));
    expect(() => golden('paper')).toThrow('got none');
    expect(() => golden('../paper')).toThrow("golden: wanted the name of a folder, got '../paper'");
  });

  it('by prefix, sorted, at least one', () => {
    for (const name of ['attn_b', 'attn_a', 'mask']) put(join(own, 'golden', `${name}.safetensors`), 1);
    expect(golden('paper').files('attn_')).toEqual(['attn_a', 'attn_b']);
    expect(() => golden('paper').files('rope')).toThrow(
      "golden 'paper': wanted files that begin with 'rope', got none among 'attn_a', 'attn_b', 'mask'",
    );
    expect(() => golden('paper').load('absent')).toThrow("golden 'paper': wanted file 'absent', got only 'attn_a', 'attn_b', 'mask'");
  });
});

describe('golden: one file', () => {
  const tensors = {
    'case0.u': { dtype: 'float32' as const, shape: [1, 2], data: Float32Array.of(1, 2) },
    'case0.v': { dtype: 'int32' as const, shape: [], data: Int32Array.of(3) },
    'case10.u': { dtype: 'float32' as const, shape: [1], data: Float32Array.of(4) },
  };
  const metadata = { config: 'size=8;kind=cfg;list=[2, 2]', steps: '1500', note: 'plain words' };
  beforeEach(() => {
    mkdirSync(join(own, 'golden'));
    writeFileSync(join(own, 'golden', 'a.safetensors'), encodeSafetensors(tensors, metadata));
  });

  it('gives tensors by key and by prefix', async () => {
    const file = golden('paper').load('a');
    expect([file.name, file.path]).toEqual(['a', join(own, 'golden', 'a.safetensors')]);
    expect(file.keys()).toEqual(['case0.u', 'case0.v', 'case10.u']);
    expect(file.keys('case0.')).toEqual(['case0.u', 'case0.v']);
    expect(file.tensors('case0.')).toEqual({ u: tensors['case0.u'], v: tensors['case0.v'] });
    expect([file.has('case0.u'), file.has('case0.'), file.hasAny('case0.'), file.hasAny('case1.')]).toEqual([true, false, true, false]);
    const u = file.tensor('case0.u');
    expect([u.shape, [...(await u.data())]]).toEqual([
      [1, 2],
      [1, 2],
    ]);
    expect(file.tensor('case0.u')).not.toBe(u);
  });

  it('gives settings and single values from the metadata', () => {
    const file = golden('paper').load('a');
    expect(file.metadata).toEqual(metadata);
    expect(file.settings('config')).toEqual({ size: 8, kind: 'cfg', list: [2, 2] });
    expect(file.setting('steps')).toBe(1500);
    expect(() => file.settings('note')).toThrow(
      "golden a: metadata 'note': wanted settings like 'a=1;b=text', got 'plain words' in 'plain words'",
    );
  });

  it('says what is missing and what is there', () => {
    const file = golden('paper').load('a');
    expect(() => file.host('case1.u')).toThrow("golden a: wanted tensor 'case1.u', got only 'case0.u', 'case0.v', 'case10.u'");
    expect(() => file.tensor('toString')).toThrow("wanted tensor 'toString'");
    expect(() => file.keys('x')).toThrow("golden a: wanted tensors that begin with 'x', got none among 'case0.u', 'case0.v', 'case10.u'");
    expect(() => file.tensors('x')).toThrow("golden a: wanted tensors that begin with 'x'");
    expect(() => file.settings('absent')).toThrow("golden a: wanted metadata 'absent', got only 'config', 'steps', 'note'");
    expect(() => file.setting('absent')).toThrow("golden a: wanted metadata 'absent'");
  });

  it('is checked as it is read', () => {
    const path = join(own, 'golden', 'cut.safetensors');
    writeFileSync(path, encodeSafetensors(tensors).subarray(0, -1));
    expect(() => golden('paper').load('cut')).toThrow(`${path}: tensor 'case10.u': wanted values up to byte`);
  });
});

describe('settings', () => {
  it.each([
    ['8', 8],
    ['-0.6', -0.6],
    ['1e8', 1e8],
    ['2.18e-01', 0.218],
    ['.5', 0.5],
    ['8/3', 8 / 3],
    ['True', true],
    ['false', false],
    ['[2, 2]', [2, 2]],
    ['(4, 8, 5)', [4, 8, 5]],
    ['(4,)', [4]],
    ['[]', []],
    ['[0.0, 1e-3]', [0, 0.001]],
    ['[a, b]', '[a, b]'],
    ['cfg', 'cfg'],
    ['', ''],
    ['None', 'None'],
    ['1.2.3', '1.2.3'],
    ['0x10', '0x10'],
    ['Infinity', 'Infinity'],
  ])('%j is read as %j', (text, value) => {
    expect(parseSetting(text)).toEqual(value);
  });

  it.each([
    ['a=1;b=cfg;c=[2, 2]', { a: 1, b: 'cfg', c: [2, 2] }],
    ['a=1; b = two words;', { a: 1, b: 'two words' }],
    ['norm_p=0.0', { norm_p: 0 }],
    ['sparsity=0.9 decay_rate=0.03 mode=finetune', { sparsity: 0.9, decay_rate: 0.03, mode: 'finetune' }],
    ['dim=7,max_period=100', { dim: 7, max_period: 100 }],
    ['shape=(1, 2) tile=[3, 4]', { shape: [1, 2], tile: [3, 4] }],
    ['c=[2, 2]', { c: [2, 2] }],
    ['f=x=y', { f: 'x=y' }],
    ['name=two words', { name: 'two words' }],
    ['empty=;b=1', { empty: '', b: 1 }],
  ])('%j', (text, settings) => {
    expect(parseSettings(text, 'f')).toEqual(settings);
  });

  it.each([
    ['', "f: wanted settings like 'a=1;b=text', got ''"],
    [' ; ', "f: wanted settings like 'a=1;b=text', got ' ; '"],
    ['a=1;b', "f: wanted settings like 'a=1;b=text', got 'b' in 'a=1;b'"],
    ['=1', "got '=1' in '=1'"],
    ['a=1;a=2', "f: wanted every setting once, got 'a' twice in 'a=1;a=2'"],
  ])('%j is refused', (text, message) => {
    expect(() => parseSettings(text, 'f')).toThrow(message);
  });
});
