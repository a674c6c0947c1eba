import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Contestant } from './contest.ts';

/** Number of lines of stderr that are kept for the error message if a peer ends. */
const KEPT_LINES = 20;

/**
 * A peer in a separate process that runs as long as the bench. It reads one command per line from stdin, and answers with one line of JSON
 * on stdout. Its first line comes without a command and says what it is. If a request fails, it answers `{"error": sentence}`. Lines on its
 * stderr that begin with '# ' are shown.
 */
export class Peer {
  readonly name: string;
  #child: ChildProcessWithoutNullStreams;
  #stderr: string[] = [];
  #waiting: { resolve: (line: string) => void; reject: (error: Error) => void } | undefined;
  #lines: string[] = [];
  #ended: Error | undefined;

  private constructor(name: string, command: string, args: readonly string[]) {
    this.name = name;
    this.#child = spawn(command, args, { stdio: 'pipe' });
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const waiting = this.#waiting;
      this.#waiting = undefined;
      if (waiting) waiting.resolve(line);
      else this.#lines.push(line);
    });
    createInterface({ input: this.#child.stderr }).on('line', (line) => {
      if (line.startsWith('# ')) console.error(`  ${name}: ${line.slice(2)}`);
      this.#stderr.push(line);
      if (this.#stderr.length > KEPT_LINES) this.#stderr.shift();
    });
    this.#child.on('error', (error) => this.#end(error.message));
    this.#child.on('close', (code, signal) => this.#end(`an end with ${signal ?? `exit code ${code}`}`));
    // If the peer has ended, its 'close' event reports this. So an error of writing is ignored.
    this.#child.stdin.on('error', () => undefined);
  }

  /**
   * Starts a peer and waits for its first line.
   * @throws Error if it does not start
   */
  static async start<Hello>(name: string, command: string, args: readonly string[]): Promise<{ peer: Peer; hello: Hello }> {
    const peer = new Peer(name, command, args);
    return { peer, hello: (await peer.#answer('its first line')) as Hello };
  }

  /**
   * Sends one request and waits for its answer.
   * @throws Error if the peer reports an error, does not answer with JSON, or ends
   */
  async ask(command: string, argument?: unknown): Promise<unknown> {
    const text = argument === undefined ? command : `${command} ${typeof argument === 'string' ? argument : JSON.stringify(argument)}`;
    this.#child.stdin.write(`${text}\n`);
    return this.#answer(command);
  }

  /** The peer as a contestant. */
  contestant(name = this.name): Contestant {
    return {
      name,
      measure: async (steps) => {
        const times = await this.ask('measure', steps);
        if (!Array.isArray(times) || times.length !== steps || !times.every((ms) => typeof ms === 'number' && ms > 0))
          throw new Error(`${this.name}: measure: wanted ${steps} times in ms, got ${JSON.stringify(times)}`);
        return times as number[];
      },
    };
  }

  /** Ends the process. */
  async stop(): Promise<void> {
    if (this.#ended) return;
    const closed = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin.end();
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 5000);
    await closed;
    clearTimeout(late);
  }

  async #answer(to: string): Promise<unknown> {
    const line =
      this.#lines.shift() ??
      (await new Promise<string>((resolve, reject) => {
        if (this.#ended) reject(this.#ended);
        else this.#waiting = { resolve, reject };
      }));
    let answer: unknown;
    try {
      answer = JSON.parse(line);
    } catch {
      throw new Error(`${this.name}: ${to}: wanted a line of JSON, got '${line.slice(0, 100)}'`);
    }
    const error = (answer as { error?: unknown } | null)?.error;
    if (error !== undefined) throw new Error(`${this.name}: ${to}: ${String(error)}`);
    return answer;
  }

  #end(how: string): void {
    if (this.#ended) return;
    const last = this.#stderr.filter((line) => line.trim() !== '').at(-1);
    this.#ended = new Error(`${this.name}: wanted a peer that answers, got ${how}${last === undefined ? '' : ` (${last.trim()})`}`);
    this.#waiting?.reject(this.#ended);
    this.#waiting = undefined;
  }
}
