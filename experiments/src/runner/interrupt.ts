import { Interrupted } from './errors.ts';

/** What a write gives when nobody can read it any more: the other end of a pipe is closed, or the terminal is gone. */
const UNREADABLE = new Set(['EPIPE', 'EIO', 'ENXIO', 'ERR_STREAM_DESTROYED']);

/**
 * Aborted by the first Ctrl-C, by SIGTERM, by the loss of the terminal (SIGHUP), by the end of the process that started this one for a sweep, and when nobody reads the output any more. So a run then writes its checkpoint
 * and stops. `told` is called for signals. A second Ctrl-C or SIGTERM ends the process with code 130. A terminal that closes may send SIGHUP twice, so the
 * second one does nothing. A process of a sweep is told to stop by the terminal and by the sweep, so there no second signal does anything.
 */
export function interruptSignal(told: () => void): AbortSignal {
  const controller = new AbortController();
  const stop = (reason: string): void => controller.abort(new Interrupted(reason));
  const isOfSweep = process.connected;
  for (const [signal, reason] of [
    ['SIGINT', 'stopped by Ctrl-C'],
    ['SIGTERM', 'stopped by SIGTERM'],
    ['SIGHUP', 'the terminal was closed'],
  ] as const) {
    process.on(signal, () => {
      if (!controller.signal.aborted) {
        stop(reason);
        told();
      } else if (signal !== 'SIGHUP' && !isOfSweep) process.exit(130);
    });
  }
  // A process of a sweep or of a worker stops when the one that started it is gone, however that ended.
  if (isOfSweep) {
    process.on('disconnect', () => stop('the process that started this one is gone'));
    // Waiting for that must not keep a process whose work is done.
    process.channel?.unref();
  }
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (!UNREADABLE.has(error.code ?? '')) throw error;
      stop('nobody reads the output any more');
    });
  }
  return controller.signal;
}
