import cliProgress from 'cli-progress';
import { numberText } from './claims.ts';
import type { Progress } from './experiment.ts';

/** The part of a stream that progress needs. */
export interface Screen {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

/** One line that redraws itself on a terminal (not on one that calls itself dumb); else a plain line at the start, every `seconds`, and at the end. */
export function makeProgress(screen: NodeJS.WriteStream | Screen, seconds = 5): Progress {
  return screen.isTTY && process.env['TERM'] !== 'dumb'
    ? new BarProgress(screen as NodeJS.WriteStream)
    : new PlainProgress(screen, seconds);
}

/** The text is made only when it is drawn, because making it may take longer than a step. */
class BarProgress implements Progress {
  readonly #screen: NodeJS.WriteStream;
  #now: { bar: cliProgress.SingleBar; total: number; clock: Clock; drawnAt: number } | undefined;

  constructor(screen: NodeJS.WriteStream) {
    this.#screen = screen;
  }

  start(label: string, total: number, done = 0): void {
    this.stop();
    const format = '{label}  {bar}  {value}/{total}  {facts}';
    // On a narrow terminal the bar is short, so that the facts behind it are seen.
    const barsize = Math.min(40, Math.max(8, (this.#screen.columns ?? 120) - 80));
    const bar = new cliProgress.SingleBar({ stream: this.#screen, format, barsize, fps: 10, hideCursor: true }, cliProgress.Presets.rect);
    this.#now = { bar, total, clock: new Clock(total, done), drawnAt: 0 };
    bar.start(total, done, { label, facts: '' });
  }

  update(done: number, metrics: Readonly<Record<string, number>> = {}, text = ''): void {
    const now = this.#now;
    if (now === undefined) return;
    now.clock.tick(done);
    if (done < now.total && performance.now() - now.drawnAt < 100) return;
    now.drawnAt = performance.now();
    now.bar.update(done, { facts: words(text, metricText(metrics), now.clock.text()) });
  }

  stop(): void {
    this.#now?.bar.stop();
    this.#now = undefined;
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
    this.#screen.write(done === 0 ? `${label}: ${total} steps\n` : `${label}: goes on after step ${done} of ${total}\n`);
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

const words = (...parts: string[]): string => parts.filter((part) => part !== '').join('  ');
