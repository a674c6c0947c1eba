import { Interrupted } from './errors.ts';

/** Aborted by the first Ctrl-C (or SIGTERM), which also calls `told`; the second one ends the process with code 130. */
export function interruptSignal(told: () => void): AbortSignal {
  const controller = new AbortController();
  const stop = (): void => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort(new Interrupted('stopped by Ctrl-C'));
    told();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  return controller.signal;
}
