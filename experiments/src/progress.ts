import cliProgress from 'cli-progress';
import { numberText } from './claims.ts';
import type { Progress } from './experiment.ts';

/** The part of a stream that progress needs. */
export interface Screen {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

/** One line that redraws itself on a terminal; else a plain line at the start, every `seconds`, and at the end. */
export function makeProgress(screen: NodeJS.WriteStream | Screen, seconds = 5): Progress {
  return screen.isTTY ? new BarProgress(screen as NodeJS.WriteStream) : new PlainProgress(screen, seconds);
}

class BarProgress implements Progress {
  readonly #screen: NodeJS.WriteStream;
  #bar: cliProgress.SingleBar | undefined;
  #clock: Clock | undefined;

  constructor(screen: NodeJS.WriteStream) {
    this.#screen = screen;
  }

  start(label: string, total: number, done = 0): void {
    this.stop();
    const options = {
      stream: this.#screen,
      format: '{label}  {bar}  {value}/{total}  {facts}',
      fps: 8,
      hideCursor: true,
      stopOnComplete: false,
    };
    this.#bar = new cliProgress.SingleBar(options, cliProgress.Presets.rect);
    this.#clock = new Clock(total, done);
    this.#bar.start(total, done, { label, facts: '' });
  }

  update(done: number, metrics: Readonly<Record<string, number>> = {}): void {
    this.#bar?.update(done, { facts: [metricText(metrics), this.#clock!.text(done)].filter((part) => part !== '').join('  ') });
  }

  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}

class PlainProgress implements Progress {
  readonly #screen: Screen;
  readonly #seconds: number;
  #now: { label: string; total: number; clock: Clock; printedAt: number; last: string } | undefined;

  constructor(screen: Screen, seconds: number) {
    this.#screen = screen;
    this.#seconds = seconds;
  }

  start(label: string, total: number, done = 0): void {
    this.stop();
    this.#now = { label, total, clock: new Clock(total, done), printedAt: performance.now(), last: '' };
    this.#screen.write(done === 0 ? `${label}: ${total} steps\n` : `${label}: goes on after step ${done} of ${total}\n`);
  }

  update(done: number, metrics: Readonly<Record<string, number>> = {}): void {
    const now = this.#now;
    if (now === undefined) return;
    now.last = [`${now.label}: ${done}/${now.total}`, metricText(metrics), now.clock.text(done)].filter((part) => part !== '').join('  ');
    if (done < now.total && performance.now() - now.printedAt < 1000 * this.#seconds) return;
    this.#print(now);
  }

  stop(): void {
    if (this.#now !== undefined && this.#now.last !== '') this.#print(this.#now);
    this.#now = undefined;
  }

  #print(now: { last: string; printedAt: number }): void {
    this.#screen.write(`${now.last}\n`);
    now.last = '';
    now.printedAt = performance.now();
  }
}

/** Time of a step and time left, from an average that forgets slowly, so that the first slow step does not weigh for long. */
class Clock {
  readonly #total: number;
  #done: number;
  #at = performance.now();
  #ms: number | undefined;

  constructor(total: number, done: number) {
    this.#total = total;
    this.#done = done;
  }

  text(done: number): string {
    const now = performance.now();
    if (done > this.#done) {
      const ms = (now - this.#at) / (done - this.#done);
      this.#ms = this.#ms === undefined ? ms : 0.95 * this.#ms + 0.05 * ms;
      [this.#done, this.#at] = [done, now];
    }
    if (this.#ms === undefined) return '';
    const left = done < this.#total ? `  ${timeText((this.#ms * (this.#total - done)) / 1000)} left` : '';
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
