import { existsSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { shown } from '@atelier/tensor';
import { z } from 'zod';
import { onDisk } from './errors.ts';

/** Seconds between two signs of life of a lock, and after how many without one a lock of another machine is void. */
const [BEAT, VOID] = [10, 120];

/** The number in a lock file that cannot be read: it is being written now, or its process was killed meanwhile. */
const INCOMPLETE = -1;

const lockSchema = z.object({ pid: z.number(), began: z.string(), host: z.string().optional() });
type Lock = z.infer<typeof lockSchema>;

/** A file that lets only one process do a thing. Machines that share the disk see it too. It is void once its process is gone. */
export class FileLock {
  readonly #path: string;
  #beat: NodeJS.Timeout | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * Takes the lock, unless another one has it.
   *
   * @returns who has it (`process 17 of host`), or undefined if it is taken now, or was before
   * @throws StopError if the disk refuses
   */
  take(): string | undefined {
    if (this.#beat !== undefined && existsSync(this.#path)) return undefined;
    const mine = JSON.stringify({ pid: process.pid, began: processBegan(process.pid), host: hostname() });
    const holder = onDisk(this.#path, () => {
      for (;;) {
        try {
          writeFileSync(this.#path, mine, { flag: 'wx' });
          return undefined;
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
        }
        const lock = readLock(this.#path);
        if (isHeld(lock, this.#path)) return `process ${lock.pid}${isHere(lock) ? '' : ` of ${shown(lock.host)}`}`;
        rmSync(this.#path, { force: true });
      }
    });
    // Other machines with the same disk cannot ask whether this process lives; they look at the time of the file.
    if (holder === undefined) this.#beat = setInterval(() => touch(this.#path), 1000 * BEAT).unref();
    return holder;
  }

  /** Whether a living process has it. */
  get isHeld(): boolean {
    return existsSync(this.#path) && isHeld(readLock(this.#path), this.#path);
  }

  release(): void {
    clearInterval(this.#beat);
    this.#beat = undefined;
    rmSync(this.#path, { force: true });
  }
}

function readLock(path: string): Lock {
  try {
    return lockSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return { pid: INCOMPLETE, began: '' };
  }
}

/** Whether this machine wrote a lock; older locks do not name theirs. */
const isHere = ({ host }: Lock): boolean => host === undefined || host === hostname();

/** Whether the process that wrote a lock still lives. */
function isHeld(lock: Lock, path: string): boolean {
  if (lock.pid !== INCOMPLETE && isHere(lock)) return isAlive(lock.pid) && processBegan(lock.pid) === lock.began;
  const written = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
  return written !== undefined && Date.now() - written < 1000 * (lock.pid === INCOMPLETE ? BEAT : VOID);
}

function touch(path: string): void {
  try {
    utimesSync(path, new Date(), new Date());
  } catch {
    // The folder may be gone; the process itself will say so.
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** When a process started, if the system says so (Linux). The id alone is not enough, because systems use ids again, in a container soon. */
function processBegan(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the command in brackets, which may hold blanks; the start time is the 22nd.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}
