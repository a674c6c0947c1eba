import { spawn } from 'node:child_process';

/** How to start the command line again: the program, and the words before those of the user. */
export type Program = readonly [string, ...string[]];

/** This program, started as this process was. */
export const thisProgram = (): Program => [process.execPath, ...process.execArgv, process.argv[1] ?? ''];

export interface ProcessEnd {
  readonly code: number;
  /** The sentence that it printed for an error, or the last line. */
  readonly words: string;
}

/**
 * Runs a command of this program in a process of its own. The process stops, with a checkpoint, when this one ends in any way, because the channel between them closes.
 *
 * @param signal stops the process as Ctrl-C does
 * @param line is called for every line that it prints
 */
export function runProcess(
  [file, ...before]: Program,
  words: readonly string[],
  { signal, line }: { signal: AbortSignal; line: (text: string) => void },
): Promise<ProcessEnd> {
  const child = spawn(file, [...before, ...words], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  const stop = (): void => void child.kill('SIGTERM');
  signal.addEventListener('abort', stop);
  if (signal.aborted) stop();
  let [last, rest, err] = ['', '', ''];
  child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    for (const text of lines) line((last = text));
  });
  child.stderr!.setEncoding('utf8').on('data', (chunk: string) => (err = (err + chunk).slice(-10_000)));
  return new Promise((done, failed) => {
    child.on('error', failed);
    child.on('close', (code, killedBy) => {
      signal.removeEventListener('abort', stop);
      const words = err.trim().split('\n').at(-1) || (killedBy ? `the process was ended by ${killedBy}` : last);
      done({ code: code ?? 1, words });
    });
  });
}
