import { plainText } from '@atelier/tensor';
import { CLEAR, timeText, type Screen } from '../runner/progress.ts';

type Row = { label: string; state: 'waiting' | 'running' | 'finished' | 'kept' | 'failed'; text: string; began: number };

/** Rows of running processes that are shown at most. */
const MOST_ROWS = 12;

/** The runs of a sweep while they go on: a table that redraws itself on a terminal, and elsewhere a line when a run begins or ends. */
export class LiveTable {
  readonly #screen: Screen;
  readonly #redraws: boolean;
  readonly #rows: Row[];
  readonly #width: number;
  #drawn = 0;
  #drawnAt = 0;

  constructor(screen: Screen, labels: readonly string[]) {
    this.#screen = screen;
    this.#redraws = screen.isTTY === true && process.env['TERM'] !== 'dumb';
    this.#rows = labels.map((label) => ({ label: plainText(label), state: 'waiting', text: '', began: 0 }));
    this.#width = Math.min(40, Math.max(0, ...this.#rows.map(({ label }) => label.length)));
  }

  begin(at: number): void {
    this.#set(at, 'running', '');
    this.#rows[at]!.began = performance.now();
    if (!this.#redraws) this.#say(at, 'begins');
    this.#draw(true);
  }

  /** The last line that a running process has printed. */
  tell(at: number, text: string): void {
    this.#rows[at]!.text = plainText(text);
    this.#draw(false);
  }

  end(at: number, state: 'finished' | 'kept' | 'failed', words: string): void {
    const { began } = this.#rows[at]!;
    this.#set(at, state, plainText(words));
    const time = state === 'kept' || began === 0 ? '' : ` after ${timeText((performance.now() - began) / 1000)}`;
    if (!this.#redraws || state === 'failed') {
      this.#erase();
      this.#say(at, `${state}${time}: ${plainText(words)}`);
    }
    this.#draw(true);
  }

  /** A line above the table. */
  note(words: string): void {
    this.#erase();
    this.#screen.write(`${plainText(words)}\n`);
    this.#draw(true);
  }

  /** Leaves the table as it is. */
  close(): void {
    this.#draw(true);
    this.#drawn = 0;
  }

  #set(at: number, state: Row['state'], text: string): void {
    Object.assign(this.#rows[at]!, { state, text });
  }

  #say(at: number, words: string): void {
    this.#screen.write(`${at + 1}/${this.#rows.length}  ${this.#rows[at]!.label.padEnd(this.#width)}  ${words}\n`);
  }

  #erase(): void {
    if (this.#drawn > 0) this.#screen.write(`\u001b[${this.#drawn}A\r\u001b[J`);
    this.#drawn = 0;
  }

  #draw(now: boolean): void {
    if (!this.#redraws || (!now && performance.now() - this.#drawnAt < 200)) return;
    this.#drawnAt = performance.now();
    this.#erase();
    const columns = (this.#screen.columns ?? 80) - 1;
    const running = this.#rows.filter(({ state }) => state === 'running').slice(0, MOST_ROWS);
    const count = (state: Row['state']): number => this.#rows.filter((row) => row.state === state).length;
    const lines = [
      ...running.map(({ label, text }) => `  ${label.slice(0, this.#width).padEnd(this.#width)}  ${text}`),
      (['finished', 'kept', 'running', 'waiting', 'failed'] as const)
        .filter((state) => count(state) > 0)
        .map((state) => `${count(state)} ${state}`)
        .join(', '),
    ];
    this.#screen.write(lines.map((line) => `${CLEAR}${line.slice(0, columns)}\n`).join(''));
    this.#drawn = lines.length;
  }
}
