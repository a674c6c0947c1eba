import type { ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { bundled } from '../bin/bundle.mjs';
import { differences, outcomeOf } from '../src/index.ts';
import { openBucket, type Bucket } from '../src/queue/bucket.ts';
import { parseRedis, QUEUE } from '../src/queue/connection.ts';
import { jobName, messageOf, OtherCode, readMessage } from '../src/queue/job-message.ts';
import { submitSweep } from '../src/queue/submit.ts';
import { runWorker } from '../src/queue/worker.ts';
import { readRecords } from '../src/runner/kept-run.ts';
import type { RunRecord } from '../src/runner/run-folder.ts';
import { planSweep } from '../src/sweep/sweep-plan.ts';
import { here, inChild, onlyRun, readJson, temporaryFolder } from './child.ts';
import { linearRegression } from './linear-regression.ts';
import { Cutter, hasRedis, RedisServer, until } from './redis-server.ts';

const experiments = [linearRegression];

describe('the address of a queue', () => {
  it('is read with TLS, user, password and database; the password may come from the environment', () => {
    expect(parseRedis('redis://host', {})).toEqual({ host: 'host', port: 6379, db: 0 });
    expect(parseRedis('rediss://me:s%40fe@host:7000/3')).toEqual({
      host: 'host',
      port: 7000,
      db: 3,
      username: 'me',
      password: 's@fe',
      tls: {},
    });
    expect(parseRedis('redis://host', { ATELIER_REDIS_PASSWORD: 'safe' }).password).toBe('safe');
  });

  it.each([
    'http://me:secret@host',
    'host:6379',
    'redis://me:secret@host/x',
    'redis:me:secret@host',
    'redis://me:%zzsecret@host',
    'redis://me:se@secret@host:port',
    'redis://:pa/secret@host',
    'redis://host/0?family=6',
    '',
  ])('%s is refused, and no password is printed', (address) => {
    expect(() => parseRedis(address)).toThrow(/^--queue: wanted redis:\/\/host:6379 or rediss:\/\/host:6379, got '((?!secret).)*'$/);
  });

  it('is refused in a sentence where no Redis answers, without the password', async () => {
    for (const command of [['sweep', 'linear-regression'], ['worker']]) {
      const { code, err } = await here([...command, '--queue', 'redis://me:secret@127.0.0.1:1'], temporaryFolder());
      expect(code).toBe(1);
      expect(err).toMatch(/^queue: Redis at 127\.0\.0\.1:1 cannot be reached: ((?!secret).)*\n$/);
    }
  });
});

describe('the commands of a queue', () => {
  it.each([
    [['worker'], 'worker: wanted --queue redis://host:6379, got none'],
    [
      ['worker', '--queue', 'redis://x', '--concurrency', 'many'],
      'worker: concurrency: wanted an integer at least 1 and at most 256, got many',
    ],
    [['sweep', 'linear-regression', '--store', 's3://bucket'], 'sweep: --store: wanted --queue beside it, got none'],
    [
      ['sweep', 'linear-regression', '--queue', 'redis://x', '--threads', '2'],
      'sweep: --queue: wanted no --threads beside it, got --threads',
    ],
    [['worker', '--queue', 'redis://x', '--store', 's4://x'], "--store: wanted s3://bucket/prefix, got 's4://x'"],
  ])('%j is refused', async (words, sentence) => {
    expect((await here(words, temporaryFolder())).err).toContain(sentence);
  });

  it('ask for a complete environment of the storage, and print nothing secret of it', async () => {
    await expect(openBucket('s3://bucket/x', {})).rejects.toThrow('wanted AWS_ACCESS_KEY_ID');
    const keys = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'secret' };
    await expect(openBucket('s3://bucket/x', { ...keys, AWS_ENDPOINT_URL: 'http://me:secret@host' })).rejects.toThrow(
      /^--store: wanted AWS_ENDPOINT_URL to be https:\/\/host or http:\/\/host:port, got '…@host'$/,
    );
    const bucket = await openBucket('s3://bucket/x', { ...keys, AWS_ENDPOINT_URL: 'http://127.0.0.1:1/' });
    await expect(bucket.get('key')).rejects.toThrow(/^--store: GET http:\/\/127\.0\.0\.1:1\/bucket\/x\/key: ((?!secret).)*$/);
  });
});

describe('a message of a queue', () => {
  const message = messageOf(linearRegression, planSweep(linearRegression, 'smoke', ['seed=5']).jobs[0]!);

  it('is what was sent', () => {
    expect(readMessage(experiments, jobName(message), JSON.parse(JSON.stringify(message))).message).toEqual(message);
  });

  it.each([
    [{ ...message, version: 2 }, 'queue: wanted a job of version 1, got version 2'],
    [null, 'queue: wanted a job of version 1, got version none'],
    [{ version: '\n\u001b[2J' }, "queue: wanted a job of version 1, got version '\\u000a\\u001b[2J'"],
    [{ ...message, words: ['seed=6'] }, 'queue: wanted the configuration '],
    [{ ...message, words: 'seed=5' }, "queue: job: 'words': wanted a list"],
    [{ ...message, more: 1 }, 'queue: job: '],
    [{ ...message, code: '0123456789abcdef' }, `queue: wanted the job ${message.configHash}-0123456789abcdef, got '`],
  ])('is refused for good: %j', (plain, sentence) => {
    const read = (): unknown => readMessage(experiments, jobName(message), plain);
    expect(read).toThrow(sentence);
    expect(read).not.toThrow(OtherCode);
  });

  it.each([{ code: '0123456789abcdef' }, { experiment: 'another' }])('of other code is for another worker: %j', (change) => {
    const other = { ...message, ...change };
    expect(() => readMessage(experiments, jobName(other), other)).toThrow(OtherCode);
  });
});

/** No test waits for a time; on a machine that stands still for minutes they only take longer. */
const PATIENCE = { timeout: 1_200_000 };

describe.skipIf(!hasRedis)('a queue on a real Redis (skipped: redis-server is not installed)', PATIENCE, () => {
  const redis = new RedisServer();
  const hold = join(temporaryFolder(), 'hold');
  const words = ['steps=30', 'checkpointSteps=5', `hold=${hold}`];
  let queue: Queue;
  let program: readonly [string, string];
  /** Stops what a test has started. */
  let stops: (() => unknown)[] = [];
  beforeAll(async () => {
    program = [process.execPath, await bundled(join(import.meta.dirname, 'linear-regression-cli.ts'))];
    await redis.start();
    queue = new Queue(QUEUE, { connection: { host: '127.0.0.1', port: redis.port, maxRetriesPerRequest: null } });
    queue.on('error', () => {});
  });
  beforeEach(() => writeFileSync(hold, ''));
  afterEach(async () => {
    for (const stop of stops) await stop();
    stops = [];
    await queue.obliterate({ force: true });
  });
  afterAll(async () => {
    await queue.close();
    await redis.kill();
  });

  /** A worker in this process. Its runs are processes of their own. */
  const work = (
    runs: string,
    { address = redis.url, store, lockSeconds = 2 }: { address?: string; store?: Bucket; lockSeconds?: number } = {},
  ) => {
    const [stop, lines] = [new AbortController(), [] as string[]];
    const request = { redis: parseRedis(address), store, runs, engine: {}, concurrency: 1, threads: 1, lockSeconds };
    const ended = runWorker(experiments, request, { signal: stop.signal, say: (line) => lines.push(line), program });
    const end = (): Promise<void> => (stop.abort(), ended);
    stops.push(end);
    return { lines, end };
  };
  /** A worker in a process of its own. @returns a function that kills it and its runs as the end of a machine does */
  const workInChild = async (runs: string, ...more: string[]): Promise<() => Promise<void>> => {
    const options = ['--queue', redis.url, '--lock-seconds', '2', '--threads', '1', ...more];
    let child!: ChildProcess;
    await new Promise<void>((begun) => {
      const ended = inChild(['worker', ...options], runs, undefined, undefined, (process) => begun(void (child = process)));
      stops.push(() => (child.kill('SIGKILL'), ended));
    });
    return async () => {
      const pids = readRecords(runs).flatMap(({ id }) => (existsSync(join(runs, id, 'lock')) ? [join(runs, id, 'lock')] : []));
      const running = pids.map((lock) => readJson(lock)['pid'] as number);
      for (const pid of [child.pid!, ...running]) process.kill(pid, 'SIGKILL');
      await stops.pop()!();
    };
  };
  const submit = async (runs: string, more: readonly string[], store?: Bucket): Promise<string> => {
    let said = '';
    const request = {
      experiment: 'linear-regression',
      preset: 'smoke',
      words: [...words, ...more],
      runs,
      way: 'grid',
      redis: parseRedis(redis.url),
      store,
    } as const;
    await submitSweep(experiments, request, { signal: new AbortController().signal, screen: { write: (text) => void (said += text) } });
    return said;
  };
  /** The runs that wait for the file `hold` to go. */
  const held = (runs: string): RunRecord[] =>
    readRecords(runs).filter(({ id }) => existsSync(join(runs, id, 'samples', 'second-step-000020.png')));
  const release = (): void => rmSync(hold);
  const nameOf = (...more: string[]): string =>
    jobName(messageOf(linearRegression, planSweep(linearRegression, 'smoke', [...words, ...more]).jobs[0]!));
  const expectBitsOfARunAlone = async (runs: string, { id, seed }: RunRecord): Promise<void> => {
    const alone = temporaryFolder();
    expect(await here(['run', 'linear-regression', ...words, `seed=${seed}`, '--threads', '1'], alone)).toMatchObject({ code: 0 });
    expect(differences(await outcomeOf(join(runs, id)), await outcomeOf(onlyRun(alone)))).toEqual([]);
  };

  it('loses nothing when a worker is killed, a connection is cut and Redis is started again', async () => {
    const runs = temporaryFolder();
    const cutter = new Cutter(redis.port);
    const { lines: second } = work(runs, { address: await cutter.listen() });
    const killFirst = await workInChild(runs);
    const submitted = submit(runs, ['seed=0..1']);
    await until(() => held(runs).length === 2);
    const mine = second.join().match(/seed=\d/)![0];
    const killed = held(runs).find(({ seed }) => mine !== `seed=${seed}`)!;
    await killFirst();
    cutter.cut();
    await redis.kill();
    await redis.start();
    release();
    expect(await submitted).toContain('2 runs in the queue');
    const records = readRecords(runs);
    expect(records.map(({ seed, status }) => [seed, status]).sort()).toEqual([0, 1].map((seed) => [seed, 'finished']));
    const resumed = records.find(({ id }) => id === killed.id)!;
    expect(resumed.resumed).toBeGreaterThan(0);
    await expectBitsOfARunAlone(runs, resumed);
    // Asked for again, the runs are there already.
    await submit(runs, ['seed=0..1']);
    for (const seed of [0, 1]) expect(second.join('\n')).toMatch(new RegExp(`seed=${seed}: was finished`));
    expect(readRecords(runs)).toEqual(records);
    for (const { id } of records) expect(readFileSync(join(runs, id, 'run.json'), 'utf8')).not.toContain('127.0.0.1');
    stops.push(() => cutter.close());
  });

  it('does a job once that two workers are offered, and leaves a job to others that it cannot do', async () => {
    const runs = temporaryFolder();
    const message = messageOf(linearRegression, planSweep(linearRegression, 'smoke', ['seed=8']).jobs[0]!);
    await queue.add('run', { ...message, version: 9 }, { jobId: 'of-tomorrow', attempts: 3 });
    const other = { ...message, code: '0123456789abcdef' };
    await queue.add('run', other, { jobId: jobName(other), attempts: 3 });
    const [name, { lines }] = [nameOf('seed=7'), work(runs)];
    const submitted = submit(runs, ['seed=7']);
    await until(() => held(runs).length === 1);
    const { lines: more } = work(runs);
    // As if the first worker had been cut off for long: Redis no longer knows that it lives.
    const progress = async (job: string): Promise<string> => String((await queue.getJob(job))?.progress);
    const client = new Redis(redis.url);
    stops.push(() => client.disconnect());
    await until(async () => {
      await client.del(`bull:${QUEUE}:${name}:lock`);
      return (await progress(name)).includes('the job is being done by process ');
    });
    release();
    expect(await submitted).toContain('the job is being done by process ');
    expect(readRecords(runs).map(({ seed, status, resumed }) => [seed, status, resumed])).toEqual([[7, 'finished', 0]]);
    expect([...lines, ...more].filter((line) => line.endsWith('seed=7: begins'))).toHaveLength(1);
    await until(async () => (await queue.getJobState('of-tomorrow')) === 'failed');
    expect(await queue.getJob('of-tomorrow')).toMatchObject({
      attemptsMade: 1,
      failedReason: 'queue: wanted a job of version 1, got version 9',
    });
    await until(async () =>
      (await progress(jobName(other))).includes(
        "queue: wanted a worker with the code 0123456789abcdef of 'linear-regression', got one with ",
      ),
    );
    expect((await queue.getJob(jobName(other)))!.attemptsMade).toBe(0);
  });

  it('tries a run again that fails, and goes on with it', async () => {
    const runs = temporaryFolder();
    release();
    const { lines } = work(runs, { lockSeconds: 3600 });
    await submit(runs, ['trouble=kill', 'troubleAt=12']);
    expect(lines.join('\n')).toMatch(/failed: the process was ended by SIGKILL\n.*: goes on with /);
    expect(readRecords(runs).map(({ status, resumed }) => [status, resumed])).toEqual([['finished', 1]]);
    expect((await queue.getJob(nameOf('trouble=kill', 'troubleAt=12')))!.attemptsMade).toBe(2);
  });

  it('moves a run to a worker with another disk through S3 storage', async () => {
    const { default: S3rver } = await import('s3rver');
    const directory = temporaryFolder();
    const server = new S3rver({
      port: 0,
      address: '127.0.0.1',
      silent: true,
      directory,
      configureBuckets: [{ name: 'atelier', configs: [] }],
    });
    const { port } = await server.run();
    stops.unshift(() => server.close());
    const environment = { AWS_ENDPOINT_URL: `http://127.0.0.1:${port}`, AWS_ACCESS_KEY_ID: 'S3RVER', AWS_SECRET_ACCESS_KEY: 'S3RVER' };
    const store = await openBucket('s3://atelier/some/runs', environment);
    const [a, b, mine] = [temporaryFolder(), temporaryFolder(), temporaryFolder()];
    const [name, first] = [nameOf('seed=1'), work(a, { store, lockSeconds: 3600 })];
    const submitted = submit(mine, ['seed=1'], store);
    // A copy is there, and the run is at its place to wait.
    await until(async () => held(a).length === 1 && (await store.list(`${name}/`)).some((key) => key.endsWith('/run.json')));
    await first.end();
    expect(readRecords(a)[0]!.status).toBe('interrupted');
    release();
    const { lines } = work(b, { store, lockSeconds: 3600 });
    await submitted;
    expect(lines.join('\n')).toContain('seed=1: goes on with ');
    const records = readRecords(mine);
    expect(records.map(({ status, resumed }) => [status, resumed])).toEqual([['finished', 1]]);
    await expectBitsOfARunAlone(mine, records[0]!);
    const copies = await store.list(`${name}/`);
    expect(new Set(copies.map((key) => key.split('/')[1]!.slice(0, 6)))).toEqual(new Set(['000001', '000002']));
    // Asked for again, it is neither computed nor copied again.
    await submit(mine, ['seed=1'], store);
    expect(lines.at(-1)).toContain('seed=1: was finished');
    expect(readRecords(mine)).toEqual(records);
    expect(await store.list(`${name}/`)).toEqual(copies);
    expect(readdirSync(mine).filter((entry) => entry.startsWith('.fetched'))).toEqual([]);
    for (const file of readdirSync(mine, { recursive: true, encoding: 'utf8' }))
      if (statSync(join(mine, file)).isFile()) expect(readFileSync(join(mine, file), 'latin1')).not.toContain('S3RVER');
  });
});
