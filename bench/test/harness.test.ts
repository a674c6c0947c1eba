import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { benchArguments } from '../harness/arguments.ts';
import { contest, median, ratioOf, type Contestant } from '../harness/contest.ts';
import { Peer } from '../harness/peer.ts';
import { speedRow, table } from '../harness/report.ts';
import { checkAgreement } from '../harness/work.ts';

const options = { rounds: 3, turnMs: 8, warmUpMs: 1, restMs: 0 };

/** A contestant that records its turns. Every step takes `ms`, but the first step of each turn takes ten times as long. */
function scripted(name: string, ms: number, turns: string[]): Contestant {
  return {
    name,
    measure: (steps) => {
      turns.push(`${name}${steps}`);
      return Promise.resolve(Array.from({ length: steps }, (_, i) => (i === 0 ? 10 * ms : ms)));
    },
  };
}

describe('contest', () => {
  it('warms up all contestants, then gives them turns of equal length, and ignores the first step of each turn', async () => {
    const turns: string[] = [];
    const [a, b] = await contest([scripted('a', 2, turns), scripted('b', 4, turns)], options);
    expect(turns).toEqual(['a2', 'b2', 'a5', 'b3', 'a5', 'b3', 'a5', 'b3']);
    expect(a).toEqual({ name: 'a', rounds: [2, 2, 2], median: 2 });
    expect(b!.rounds).toEqual([4, 4, 4]);
    expect(ratioOf(a!, b!)).toEqual({ ratio: 2, low: 2, high: 2 });
  });

  it('counts at least one step per turn, even if it takes long', async () => {
    const turns: string[] = [];
    await contest([scripted('a', 1000, turns)], options);
    expect(turns).toEqual(['a2', 'a2', 'a2', 'a2']);
  });

  it('takes the median of the ratios, which does not change if both are slow in one round', () => {
    const ours = { name: 'a', rounds: [1, 100, 2], median: 2 };
    const theirs = { name: 'b', rounds: [2, 200, 40], median: 40 };
    expect(ratioOf(ours, theirs)).toEqual({ ratio: 2, low: 2, high: 20 });
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });

  it('refuses options and rounds that do not fit', async () => {
    await expect(contest([], { ...options, rounds: 0 })).rejects.toThrow('contest: rounds: wanted at least 1, got 0');
    const times = { name: 'a', rounds: [1], median: 1 };
    expect(() => ratioOf(times, { ...times, rounds: [1, 2] })).toThrow('ratioOf: wanted as many rounds of both, got 1 and 2');
    expect(() => median([])).toThrow('median: wanted at least one value, got none');
  });
});

describe('Peer', () => {
  const start = (how: string): Promise<{ peer: Peer; hello: unknown }> =>
    Peer.start('peer', process.execPath, [fileURLToPath(new URL('./scripted-peer.mjs', import.meta.url)), how]);

  it('measures, reports a request that failed, and goes on', async () => {
    const { peer, hello } = await start('well');
    expect(hello).toEqual({ version: '1.0' });
    expect(await peer.contestant().measure(3)).toEqual([1, 2, 3]);
    await expect(peer.ask('prepare', { a: 1 })).rejects.toThrow("peer: prepare: wanted measure, got 'prepare'");
    expect(await peer.contestant().measure(1)).toEqual([1]);
    await peer.stop();
    await peer.stop();
  });

  it('says in one sentence why there is no answer', async () => {
    await expect(start('absent')).rejects.toThrow(
      'peer: wanted a peer that answers, got an end with exit code 3 (ModuleNotFoundError: no such module)',
    );
    await expect(start('noisy')).rejects.toThrow("peer: its first line: wanted a line of JSON, got 'Welcome!'");
    await expect(Peer.start('peer', '/no/such/python', [])).rejects.toThrow(
      'peer: wanted a peer that answers, got spawn /no/such/python ENOENT',
    );
    const { peer } = await start('short');
    await expect(peer.contestant().measure(2)).rejects.toThrow('peer: measure: wanted 2 times in ms, got [1]');
    await expect(peer.ask('end')).rejects.toThrow('peer: wanted a peer that answers, got an end with exit code 0');
    await expect(peer.ask('measure', 1)).rejects.toThrow('an end with exit code 0');
  });
});

describe('report', () => {
  it('says for each row with a bound whether it is reached', () => {
    const times = (name: string, each: number) => ({ name, rounds: [each], median: each });
    const rows = [
      speedRow('fast', { ours: times('a', 0.5), theirs: times('b', 2) }, 1.5),
      speedRow('slow', { ours: times('a', 20), theirs: times('b', 10) }, 1.5),
      speedRow('free', { ours: times('a', 300), theirs: times('b', 300) }, 0),
    ];
    expect(rows.map(({ ratio }) => ratio)).toEqual([4, 0.5, 1]);
    const lines = table(rows).split('\n');
    expect(lines[1]).toMatch(/^fast {2}0\.500 ms {2}2\.00 ms {2}b .*>= 1\.5 {2}reached$/);
    expect(lines[2]).toMatch(/>= 1\.5 {2}MISSED$/);
    expect(lines[3]).toMatch(/^free {2}300 ms {4}300 ms .*1\.00 … 1\.00$/);
  });
});

describe('arguments', () => {
  it('accepts known arguments', () => {
    const args = benchArguments(['--json', '--only', 'a', '--rounds', '5', '--no-compile'], ['a', 'b'], 'x');
    expect(args).toMatchObject({ json: true, only: 'a', contest: { rounds: 5 }, prepare: { modes: ['eager'] } });
  });

  it('refuses all others', () => {
    const refused = (...words: string[]) => expect(() => benchArguments(words, ['a', 'b'], 'x'));
    refused('--only', 'c').toThrow("bench x: --only: wanted one of a, b, got 'c'");
    refused('--rounds', '0').toThrow("bench x: --rounds: wanted a whole number from 1, got '0'");
    refused('--rounds', 'many').toThrow("bench x: --rounds: wanted a whole number from 1, got 'many'");
    refused('--fast').toThrow(/^bench x: Unknown option '--fast'$/);
    refused('a').toThrow(/^bench x: Unexpected argument 'a'$/);
  });

  it('compares the numbers of a peer with ours', () => {
    checkAgreement('w', [1.00005, 2], [1, 2]);
    expect(() => checkAgreement('w', [1.001, 2], [1, 2])).toThrow('w: wanted the figures 1, 2, got 1.001, 2');
    expect(() => checkAgreement('w', [1], [1, 2])).toThrow('w: wanted the figures 1, 2, got 1');
    expect(() => checkAgreement('w', [NaN], [1])).toThrow('w: wanted the figures 1, got NaN');
  });
});
