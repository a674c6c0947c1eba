import { setTimeout as wait } from 'node:timers/promises';
import { StopError } from '../runner/errors.ts';

/** The queue that all workers share; its number is the version of the messages, so that programs of another version never meet them. */
export const QUEUE = 'atelier-runs-1';

/** Where Redis is, and how to get in. Only `placeText` of it is ever shown. */
export interface RedisPlace {
  readonly host: string;
  readonly port: number;
  readonly db: number;
  readonly username?: string;
  readonly password?: string;
  readonly tls?: Record<string, never>;
}

/**
 * `redis://[user:password@]host[:port][/db]`, or `rediss://…` with TLS. The password may come from the environment instead: `ATELIER_REDIS_PASSWORD`.
 *
 * @throws StopError for another address; the message has neither user nor password
 */
export function parseRedis(text: string, environment: NodeJS.ProcessEnv = process.env): RedisPlace {
  try {
    const url = new URL(text);
    const db = Number(url.pathname.slice(1) || 0);
    if (!['redis:', 'rediss:'].includes(url.protocol) || url.hostname === '' || !Number.isInteger(db) || db < 0) throw new Error('address');
    if (url.search !== '' || url.hash !== '') throw new Error('address');
    const password = url.password === '' ? environment['ATELIER_REDIS_PASSWORD'] : decodeURIComponent(url.password);
    return {
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port || 6379),
      db,
      ...(url.username !== '' && { username: decodeURIComponent(url.username) }),
      ...(password !== undefined && { password }),
      ...(url.protocol === 'rediss:' && { tls: {} }),
    };
  } catch {
    // What stands before the last @ may be a password.
    throw new StopError(`--queue: wanted redis://host:6379 or rediss://host:6379, got '${text.replace(/^.*@/s, '…@')}'`);
  }
}

/** `host:port`, for people: without user and password. */
export const placeText = ({ host, port }: RedisPlace): string => `${host}:${port}`;

/**
 * What BullMQ needs to connect. While Redis is away, commands wait; a lost connection is made again after at most two seconds. Once the signal is aborted, it is given up
 * instead, and the commands fail.
 */
export class Connection {
  readonly options;
  #retryAt = 0;

  constructor(place: RedisPlace, signal: AbortSignal) {
    const retryStrategy = (times: number): number | null => {
      if (signal.aborted) return null;
      const pause = Math.min(2000, 100 * times);
      this.#retryAt = Math.max(this.#retryAt, Date.now() + pause);
      return pause;
    };
    this.options = { ...place, maxRetriesPerRequest: null, retryStrategy };
  }

  /** Waits until no connection pauses before its next try. A worker that is closed in such a pause would wait for the connection for ever. */
  async settled(): Promise<void> {
    for (let left = this.#retryAt - Date.now(); left > -PAST; left = this.#retryAt - Date.now()) await wait(left + 2 * PAST);
  }
}

/** Milliseconds after which a timer that was due has been served. */
const PAST = 50;

/** Connects, to see if that is possible. @returns the version of Redis @throws StopError with one sentence, within seconds */
export async function checkRedis(place: RedisPlace): Promise<string> {
  const { Redis } = await import('ioredis');
  // A machine that stood still for a moment takes that for silence of the server, so there is a second try.
  for (let isLast = false; ; isLast = true) {
    const client = new Redis({ ...place, lazyConnect: true, connectTimeout: 5000, maxRetriesPerRequest: 0, retryStrategy: () => null });
    let reason = '';
    client.on('error', (error: NodeJS.ErrnoException) => (reason = error.message || error.code || ''));
    try {
      await client.connect();
      return /redis_version:(\S+)/.exec(await client.info('server'))?.[1] ?? 'unknown version';
    } catch (error) {
      if (isLast)
        throw new StopError(`queue: Redis at ${placeText(place)} cannot be reached: ${reason || (error as Error).message}`, {
          cause: error,
        });
    } finally {
      client.disconnect();
    }
  }
}
