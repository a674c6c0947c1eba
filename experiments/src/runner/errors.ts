import { plainText } from '@atelier/tensor';

/** Stops the run because of its input, the disk or numbers that are not finite, not because of a bug. The message is one sentence for the user. */
export class StopError extends Error {
  override readonly name = 'StopError';
}

/** Ctrl-C, after the checkpoint was written. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file would be larger than the system allows',
  EROFS: 'the disk is read-only',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  ENOENT: 'no such file or folder',
  ENOTDIR: 'a part of the path is a file, not a folder',
  EEXIST: 'a part of the path is a file, not a folder',
  EISDIR: 'wanted a file, got a folder',
  EMFILE: 'too many open files',
  EIO: 'the disk reports an input/output error',
};

/** Characters of a sentence at most. */
const LONGEST = 1000;

/** The one sentence that is printed for an error. For a system error it says in words what failed, with the path. */
export function sentence(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code, path } = error as NodeJS.ErrnoException;
  const reason = code === undefined ? undefined : REASONS[code];
  if (reason !== undefined && path !== undefined) return `${plainText(path)}: ${reason}`;
  const first = plainText(error.message.split('\n', 1)[0]!);
  if (first === '') return error.name;
  return first.length > LONGEST ? `${first.slice(0, LONGEST)}…` : first;
}

/** Runs `work` and turns a system error into a `StopError` that names `path`. */
export function onDisk<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw diskError(path, error);
  }
}

/** Runs `work`, which reads a text from outside, and makes its error a `StopError`. */
export function onText<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new StopError(sentence(error), { cause: error });
  }
}

/** The `StopError` for a failed read or write of `path`, also where the system's error is the cause of another; other errors are passed on unchanged. */
export function diskError(path: string, error: unknown): unknown {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const reason = REASONS[(cause as NodeJS.ErrnoException).code ?? ''];
    if (reason !== undefined) return new StopError(`${path}: ${reason}`, { cause: error });
  }
  return error;
}
