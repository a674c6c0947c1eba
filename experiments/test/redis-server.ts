import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { temporaryFolder } from './child.ts';

export const hasRedis = spawnSync('redis-server', ['--version']).status === 0;

/** Waits for something that will happen, however slow the machine is. */
export async function until(happened: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await happened())) await wait(200);
}

/** A Redis of its own, which can be killed and started again with what it holds. */
export class RedisServer {
  readonly #folder = temporaryFolder();
  #child: ChildProcess | undefined;
  #port = 0;

  get url(): string {
    return `redis://127.0.0.1:${this.#port}`;
  }

  get port(): number {
    return this.#port;
  }

  async start(): Promise<void> {
    this.#port ||= await freePort();
    const options = { port: this.#port, dir: this.#folder, appendonly: 'yes', appendfsync: 'always', save: '' };
    this.#child = spawn(
      'redis-server',
      Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]),
    );
    await until(() => reaches(this.#port));
  }

  async kill(): Promise<void> {
    const child = this.#child!;
    const ended = new Promise((done) => child.on('close', done));
    child.kill('SIGKILL');
    await ended;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

const reaches = (port: number): Promise<boolean> =>
  new Promise((done) => {
    const socket = connect(port, '127.0.0.1', () => (socket.destroy(), done(true)));
    socket.on('error', () => done(false));
  });

/** Passes connections on to a port, and cuts all of them when it is asked to. */
export class Cutter {
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;

  constructor(to: number) {
    this.#server = createServer((socket) => {
      const other = connect(to, '127.0.0.1');
      for (const [from, onto] of [
        [socket, other],
        [other, socket],
      ] as const) {
        this.#sockets.add(from);
        from.pipe(onto);
        from.on('error', () => onto.destroy());
        from.on('close', () => (this.#sockets.delete(from), onto.destroy()));
      }
    });
  }

  async listen(): Promise<string> {
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done));
    return `redis://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.cut();
    this.#server.close();
  }
}
