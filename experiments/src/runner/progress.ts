import { plainText } from '@atelier/tensor';
import { numberText } from './number-text.ts';
import type { Progress } from './experiment.ts';

/** The part of a stream that progress needs. */
export interface Screen {
  readonly isTTY?: boolean;
  /** Width of the terminal, if it is one. */
  readonly columns?: number;
  write(text: string): unknown;
}

/** One line that redraws itself on a terminal; else (also where TERM is `dumb`) a plain line at the start, every `seconds`, and at the end. */
export function makeProgress(screen: Screen, seconds = 5): Progress {
  return screen.isTTY && process.env['TERM'] !== 'dumb' ? new BarProgress(screen) : new PlainProgress(screen, seconds);
}

/** Moves to the start of the line and erases it. */
export const CLEAR = '\r\u001b[2K';
const LONGEST_BAR = 30;
const SHORTEST_BAR = 5;

/** The text is made only when it is drawn, because making it may take longer than a step. It always fits into one line of the terminal. */
class BarProgress implements Progress {
  readonly #screen: Screen;
  #now: { label: string; total: number; clock: Clock; drawnAt: number } | undefined;

  constructor(screen: Screen) {
    this.#screen = screen;
  }

  start(label: string, total: number, done = 0): void {
    this.stop();
    this.#now = { label, total, clock: new Clock(total, done), drawnAt: 0 };
    this.#draw(done, '');
  }

  update(done: number, metrics: Readonly<Record<string, number>> = {}, text = ''): void {
    const now = this.#now;
    if (now === undefined) return;
    now.clock.tick(done);
    if (done < now.total && performance.now() - now.drawnAt < 100) return;
    now.drawnAt = performance.now();
    this.#draw(done, words(text, metricText(metrics), now.clock.text()));
  }

  stop(): void {
    if (this.#now !== undefined) this.#screen.write('\n');
    this.#now = undefined;
  }

  #draw(done: number, facts: string): void {
    const { label, total } = this.#now!;
    // A character in the last column would begin a new line on some terminals.
    const columns = (this.#screen.columns ?? 80) - 1;
    const count = `${done}/${total}`;
    const size = Math.min(LONGEST_BAR, columns - words(label, count, facts).length - 2);
    const full = Math.round((size * done) / total);
    const bar = size < SHORTEST_BAR ? '' : '█'.repeat(full) + '░'.repeat(size - full);
    this.#screen.write(CLEAR + words(label, bar, count, facts).slice(0, columns));
  }
}

class PlainProgress implements Progress {
  readonly #screen: Screen;
  readonly #seconds: number;
  #now:
    | {
        label: string;
        total: number;
        clock: Clock;
        printedAt: number;
        waiting: [number, Readonly<Record<string, number>>, string] | undefined;
      }
    | undefined;

  constructor(screen: Screen, seconds: number) {
    this.#screen = screen;
    this.#seconds = seconds;
  }

  start(label: string, total: number, done = 0): void {
    this.stop();
    this.#now = { label, total, clock: new Clock(total, done), printedAt: performance.now(), waiting: undefined };
    this.#screen.write(`${words(done === 0 ? `${label}: ${total} steps` : `${label}: goes on after step ${done} of ${total}`)}\n`);
  }

  update(done: number, metrics: Readonly<Record<string, number>> = {}, text = ''): void {
    const now = this.#now;
    if (now === undefined) return;
    now.clock.tick(done);
    now.waiting = [done, metrics, text];
    if (done === now.total || performance.now() - now.printedAt >= 1000 * this.#seconds) this.#print();
  }

  stop(): void {
    this.#print();
    this.#now = undefined;
  }

  #print(): void {
    const now = this.#now;
    if (now?.waiting === undefined) return;
    const [done, metrics, text] = now.waiting;
    this.#screen.write(`${words(`${now.label}: ${done}/${now.total}`, text, metricText(metrics), now.clock.text())}\n`);
    now.waiting = undefined;
    now.printedAt = performance.now();
  }
}

/** Time per step and remaining time, from a moving average, so that the slow first step does not count for long. */
class Clock {
  readonly #total: number;
  #done: number;
  #at = performance.now();
  #ms: number | undefined;

  constructor(total: number, done: number) {
    this.#total = total;
    this.#done = done;
  }

  tick(done: number): void {
    if (done <= this.#done) return;
    const now = performance.now();
    const ms = (now - this.#at) / (done - this.#done);
    this.#ms = this.#ms === undefined ? ms : 0.95 * this.#ms + 0.05 * ms;
    [this.#done, this.#at] = [done, now];
  }

  text(): string {
    if (this.#ms === undefined) return '';
    const left = this.#done < this.#total ? `  ${timeText((this.#ms * (this.#total - this.#done)) / 1000)} left` : '';
    return `${this.#ms < 10 ? this.#ms.toFixed(1) : Math.round(this.#ms)} ms/step${left}`;
  }
}

/** `45 s`, `3 min 20 s`, `2 h 5 min` */
export function timeText(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

const metricText = (metrics: Readonly<Record<string, number>>): string =>
  Object.entries(metrics)
    .slice(0, 3)
    .map(([name, value]) => `${name} ${numberText(value)}`)
    .join('  ');

/** Labels and names of metrics come from outside. */
const words = (...parts: string[]): string =>
  parts
    .filter((part) => part !== '')
    .map(plainText)
    .join('  ');
