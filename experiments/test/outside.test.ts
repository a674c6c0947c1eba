import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseHTML } from 'linkedom';
import { describe, expect, it } from 'vitest';
import { experiments } from '../src/registry.ts';
import { lineChart } from '../src/pictures/line-chart.ts';
import { main } from '../src/runner/command-line.ts';
import { configHash, resolveConfig } from '../src/runner/config.ts';
import type { Experiment, RunContext } from '../src/runner/experiment.ts';
import { markdownText } from '../src/runner/markdown-text.ts';
import { modelCard } from '../src/runner/model-card.ts';
import { readMetrics } from '../src/runner/metrics-file.ts';
import { stepPicturesOf } from '../src/runner/run-data.ts';
import { readCaptions, readClaims } from '../src/runner/run-context.ts';
import { RunFolder } from '../src/runner/run-folder.ts';
import { here, onlyRun, readJson, temporaryFolder } from './child.ts';
import { linearRegression } from './linear-regression.ts';

const of = (name: string): Experiment => experiments.find((one) => one.name === name)!;

describe('what mutated inputs have found, with the smallest input', () => {
  it.each([
    // The parser of YAML took all memory, and the process ended.
    ['nested lists in a value', '- '.repeat(2000)],
    // It needed minutes to make texts of the keys.
    ['keys that are no texts', '? '.repeat(400)],
    ['lists in lists', '['.repeat(3999)],
    ['tags, whose values would be taken without them', '!x 1'],
    ['binary data', '!!binary eA=='],
    ['anchors', '&a 1'],
    ['several documents', '---\n1\n---\n2'],
  ])('%s are refused', (_, text) => {
    expect(() => resolveConfig(of('meanflow'), 'smoke', [`gaussian.width=${text}`])).toThrow(
      "meanflow: 'gaussian.width': wanted a value in YAML, got '",
    );
  });

  it('a long value is refused before it is read', () => {
    expect(() => resolveConfig(of('meanflow'), 'smoke', [`gaussian.width=${'[]'.repeat(5000)}`])).toThrow(
      'wanted at most 4000 characters, got 10000',
    );
  });

  it('a size beyond all limits is refused before anything is computed from it', () => {
    // The divisors of the grid were looked for, in a list as long as the grid: the process ended.
    expect(() => resolveConfig(of('swin-dit'), 'smoke', ['fields.grid=2147483648'])).toThrow(
      "swin-dit: 'fields.grid': wanted a whole number <= 4096",
    );
  });

  it('nor from a size that is no whole number', () => {
    expect(() => resolveConfig(of('swin-dit'), 'smoke', ['fields.grid=1e308'])).toThrow("swin-dit: 'fields.grid': wanted a whole number");
  });

  it('a key of a group that the preset leaves to the schema does not change the others', () => {
    const data = (words: string[]): unknown =>
      (resolveConfig(of('magi1'), 'smoke', words) as unknown as { glyphs: { data: unknown } }).glyphs.data;
    expect(data(['glyphs.data.spin=0'])).toEqual({ ...(data([]) as object), spin: 0 });
  });

  it('a run has the numbers that run.json keeps', () => {
    expect(Object.is(resolveConfig(linearRegression, 'smoke', ['data.noise=-0']).data.noise, 0)).toBe(true);
  });

  it('files of a run', () => {
    const folder = temporaryFolder();
    const file = (name: string, content: string | Uint8Array): void => {
      mkdirSync(join(folder, name, '..'), { recursive: true });
      writeFileSync(join(folder, name), content);
    };
    const record = { id: 'a', experiment: 'e', preset: 'p', words: [], config: { seed: 0 }, configHash: configHash({ seed: 0 }), seed: 0, engine: { name: 'ort' }, commit: 'c', machine: 'm', versions: {}, status: 'finished', started: '2026-01-01T00:00:00.000Z', resumed: 0 }; // prettier-ignore
    const refused = (text: string, message: string): void => {
      file('run.json', text);
      expect(() => RunFolder.at(folder)).toThrow(message);
    };
    const whole = JSON.stringify(record);
    refused(whole.replace('{"id"', '{"seed":1,"id"'), "wanted every key once, got 'seed' twice");
    refused(whole.replace('{"seed":0}', '{"seed":0,"__proto__":1}'), "wanted no key '__proto__', got one");
    refused(whole.replace('{"seed":0}', `{"seed":0,"a":${'['.repeat(5000)}${']'.repeat(5000)}}`), 'wanted JSON of at most 100 levels');
    refused(whole.replace('"a"', '"../../a"'), "'id': wanted letters, digits, dashes and dots, got '../../a'");
    refused(whole.replace('"p"', `"p","\\u001b[31m":1`), "wanted only known keys, got '\\u001b[31m'");
    file('run.json', whole);
    file('lock', 'null');
    // A lock that cannot be read may be one that is being written.
    expect(RunFolder.at(folder).isRunning).toBe(true);
    for (const line of ['{"series":"a","step":1e999}', '{"series":"a","step":1,"loss":"x"}', '{"series":"a"}', 'null']) {
      file('metrics.jsonl', `${line}\n`);
      expect(() => readMetrics(join(folder, 'metrics.jsonl'))).toThrow('line 1: wanted a record with series, step and numbers');
    }
    file('claims.json', '[{"id":"a","id":"b"}]');
    expect(() => readClaims(folder)).toThrow("wanted every key once, got 'id' twice");
    file('figures/captions.json', '{"../../secret":"a picture from elsewhere"}');
    expect(() => readCaptions(folder)).toThrow('captions.json');
    file('samples/a-step-000001.png', new Uint8Array(3));
    expect(() => stepPicturesOf(folder)).toThrow('a-step-000001.png: wanted a PNG file, got something else');
  });

  it.each([
    [['runs', `-${'0'.repeat(20_000)}`], `unknown option '-${'0'.repeat(199)}…'`],
    [['runs', '--__proto__', 'x'], "unknown option '--__proto__'"],
    [['sample', 'x', '--out', 'a.png', '--out', 'b.png'], '--out: wanted one value, got 2'],
    [['runs', `\u001b[2J`], "unknown action of runs '\\u001b[2J'"],
  ])('the words %j', async (words, message) => {
    const { code, err } = await here(words, temporaryFolder());
    expect({ code, lines: err.split('\n').length }).toEqual({ code: 1, lines: 2 });
    expect(err).toContain(message);
  });

  it('an option that looks like a number is the text that was typed', async () => {
    const runs = join(temporaryFolder(), '007');
    mkdirSync(runs);
    const cwd = process.cwd();
    process.chdir(join(runs, '..'));
    let out = '';
    try {
      await main(['runs', '--runs', '007'], experiments, {
        out: { write: (text) => void (out += text) },
        err: { write: () => {} },
        signal: new AbortController().signal,
      });
    } finally {
      process.chdir(cwd);
    }
    expect(out).toBe('runs: none in 007\n');
  });
});

/** A script, an element that asks the network, an end of an attribute and of a script, codes of a terminal, line breaks, a path, and a turned direction. */
const HOSTILE = `"><script>alert(1)</script><img src=http://x onerror=alert(1)>'</title>]](javascript:alert(1)) \u001b]0;t\u0007\u001b[2J\r\nx ../../x \u202e|${'y'.repeat(3000)}`;
const ACTIVE =
  'script:not([type="application/json"]):not(:last-of-type), iframe, object, embed, link, base, meta[http-equiv], [onerror], [onload], [src^="http"], [href^="javascript"]';

/** The experiment of the tests, with hostile texts wherever an experiment or its data can have one. */
const hostile: Experiment = {
  ...linearRegression,
  title: HOSTILE,
  paper: { ...linearRegression.paper, title: HOSTILE, arxiv: HOSTILE },
  claims: linearRegression.claims.map((one) => ({
    ...one,
    claim: HOSTILE.replaceAll(' ', '_'),
    where: HOSTILE,
    published: HOSTILE,
    how: HOSTILE,
  })),
  tour: { preset: 'smoke', shows: HOSTILE, figure: 'f' },
  presets: { smoke: { note: HOSTILE }, full: {} },
  curve: (series: string) => ({ method: series, color: 0, group: HOSTILE }),
  async run(context: RunContext) {
    context.note(HOSTILE);
    context.progress.start(HOSTILE, 2);
    for (const step of [1, 2]) {
      context.log({ [HOSTILE]: step }, step, HOSTILE);
      context.progress.update(step, { [HOSTILE]: step }, HOSTILE);
    }
    context.progress.stop();
    const picture = lineChart([{ name: HOSTILE, points: [[0, 1]] }]); // prettier-ignore
    for (const name of ['../x', HOSTILE]) {
      await expect(context.figure(name, picture)).rejects.toThrow('wanted a name of letters');
      await expect(context.samples(name, 1, picture)).rejects.toThrow('wanted a name of letters');
      await expect(context.checkpoints.save(name, {}, null)).rejects.toThrow('wanted a name of letters');
    }
    await context.figure('f', lineChart([{ name: HOSTILE, points: [[0, 1], [1, 2]] }], { title: HOSTILE.slice(0, 200), x: 'x', y: HOSTILE.slice(0, 60) }), HOSTILE); // prettier-ignore
    await context.claim('weights', 0.01, HOSTILE);
  },
} as unknown as Experiment;

const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;

describe('a hostile text in every place that a run can have one', () => {
  it('is text on every page, has no control characters on a terminal, and no path leaves the folder', async () => {
    const runs = temporaryFolder();
    const said = [
      await here(['tour'], runs, undefined, [hostile]),
      await here(['run', 'linear-regression', `note=${HOSTILE}`, 'seed=1'], runs, undefined, [hostile]),
    ];
    expect(said.map(({ code, err }) => ({ code, err }))).toEqual([
      { code: 0, err: '' },
      { code: 0, err: '' },
    ]);
    const pages = [join(runs, 'tour.html')];
    for (const words of [
      ['report'],
      ['runs'],
      ['list'],
      ['list', 'linear-regression'],
      ['compare', 'linear-regression'],
      ['runs', HOSTILE],
      ['sample', HOSTILE],
      ['merge', HOSTILE],
    ])
      said.push(await here(words, runs, undefined, [hostile]));
    for (const { out, err } of said) expect(`${out}${err}`).not.toMatch(CONTROL);
    for (const [id] of readFileSync(join(runs, 'index.html'), 'utf8').matchAll(/linear-regression-smoke-\d{8}-\d{6}(-\d+)?/g))
      pages.push(join(runs, id, 'report.html'));
    for (const path of new Set([...pages, join(runs, 'index.html'), join(runs, 'results.html')])) {
      const html = readFileSync(path, 'utf8');
      expect(html).toContain('alert(1)');
      expect(html).not.toMatch(CONTROL);
      const { document } = parseHTML(html);
      expect([...document.querySelectorAll(ACTIVE)].map((one) => one.outerHTML.slice(0, 200))).toEqual([]);
      // The one script of a page is ours, and it is the last.
      for (const one of document.querySelectorAll('script:not([type])')) expect(one.textContent).not.toContain('alert(1)');
      for (const one of document.querySelectorAll('script[type="application/json"]'))
        expect(() => JSON.parse(one.textContent ?? '') as unknown).not.toThrow();
    }
    for (const file of ['results.md', 'results/linear-regression.md'])
      expect(readFileSync(join(runs, file), 'utf8')).not.toMatch(/<script|<img|\]\(javascript/);
    for (const line of readFileSync(join(runs, 'results/linear-regression.md'), 'utf8').split('\n')) expect(line).not.toMatch(CONTROL);
  });

  it('is text in a model card', async () => {
    const runs = temporaryFolder();
    await here(['run', 'linear-regression', 'steps=2', `note=${HOSTILE}`], runs);
    const folder = RunFolder.at(onlyRun(runs));
    const drawer = { method: HOSTILE, data: HOSTILE, classNames: [HOSTILE], shape: [2], noise: () => ({}), steps: 1 };
    const samples = { dtype: 'float32' as const, shape: [1, 2], data: new Float32Array(2) };
    const card = modelCard({ experiment: linearRegression, folder, name: 'm', drawer } as never, {
      inputs: {},
      samples,
      steps: 1,
      path: 'm.onnx',
      bytes: 1,
    });
    expect(card.split('## In a page')[0]).not.toMatch(/<script|<img|\]\(javascript/);
    for (const line of card.split('\n')) expect(line).not.toMatch(CONTROL);
    expect(
      card
        .split('\n')
        .find((line) => line.startsWith('| run |'))!
        .split(/(?<!\\)\|/),
    ).toHaveLength(4);
  });

  it('keeps what Markdown can hold', () => {
    expect(markdownText('r < t, a|b\n c <b> [x](y)')).toBe('r < t, a\\|b c &lt;b> [x]\\(y)');
  });

  it('as the id of a run that comes from elsewhere leads to no other folder', async () => {
    const [runs, other] = [temporaryFolder(), temporaryFolder()];
    await here(['run', 'linear-regression', 'steps=2'], runs);
    const run = join(other, 'copy');
    cpSync(onlyRun(runs), run, { recursive: true });
    writeFileSync(join(run, 'run.json'), JSON.stringify({ ...readJson(join(run, 'run.json')), id: '../../x' }));
    expect(() => RunFolder.at(run)).toThrow("'id': wanted letters, digits, dashes and dots, got '../../x'");
  });
});
