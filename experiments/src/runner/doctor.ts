import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { join } from 'node:path';
import { bundledDevices, nativeThreads, OrtBackend, pooledThreads, threadBound } from '@atelier/backend-ort';
import { compile, tf, useEngine, type Tensor } from '@atelier/tensor';
import { checkRedis, parseRedis, placeText } from '../queue/connection.ts';
import { sentence } from './errors.ts';
import { commitName, freeDisk, machineName, versions } from './machine.ts';
import { writeFile } from './write-file.ts';

/** One check. `bad` means that runs will fail; `absent` means only that something optional is missing. */
export interface Finding {
  readonly subject: string;
  readonly state: 'good' | 'absent' | 'bad';
  readonly words: string;
}

/** Checks everything that a run needs, and what only some runs need. `queue` is the address of a Redis. */
export async function examine(runs: string, queue?: string): Promise<Finding[]> {
  const found: Finding[] = [];
  const add = (subject: string, state: Finding['state'], words: string): void => void found.push({ subject, state, words });
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  add('node', major > 20 || (major === 20 && minor >= 19) ? 'good' : 'bad', `${process.versions.node}, wanted 20.19 or newer`);
  add('machine', 'good', `${machineName()}, ${(freemem() / 2 ** 30).toFixed(1)} GB free`);
  const { atelier, tfjs, onnxruntime } = versions();
  add('versions', 'good', `atelier ${atelier} (${commitName()}), tfjs ${tfjs}, onnxruntime ${onnxruntime}`);
  for (const engine of ['ort', 'cpu', 'wasm', 'tensorflow']) found.push(await tryEngine(engine));
  add('ort devices', 'good', `${bundledDevices().join(', ')} come along; cuda where its provider library is installed`);
  found.push(await productRate());
  found.push(threadCount());
  const folder = await tryFolder(runs);
  found.push(folder);
  if (folder.state === 'good') found.push(...(await tryLocks(runs)));
  if (queue !== undefined) found.push(await tryQueue(String(queue)));
  const data = process.env['ATELIER_DATA'];
  if (data === undefined) add('ATELIER_DATA', 'absent', 'not set: real data sets are downloaded where a run asks for them');
  else add('ATELIER_DATA', existsSync(data) ? 'good' : 'bad', existsSync(data) ? data : `${data}: no such folder`);
  found.push(tryTorch(process.env['ATELIER_TORCH_PYTHON'] ?? 'python3'));
  return found;
}

/** A matrix product that every engine must get right. */
async function tryEngine(name: string): Promise<Finding> {
  const subject = `engine ${name}`;
  const optional = name !== 'ort';
  try {
    await useEngine(name);
    const product = tf.tidy(() => tf.matMul(tf.tensor2d([1, 2, 3, 4], [2, 2]), tf.tensor2d([5, 6, 7, 8], [2, 2])));
    const values = [...(await product.data())];
    product.dispose();
    if (values.join() !== '19,22,43,50')
      return { subject, state: 'bad', words: `a 2 × 2 product gave ${values.join(', ')}, wanted 19, 22, 43, 50` };
    return { subject, state: 'good', words: 'starts and multiplies' };
  } catch (error) {
    return { subject, state: optional ? 'absent' : 'bad', words: sentence(error) };
  }
}

/** The speed of the default engine: the fastest of five products of 1024 × 1024 matrices. */
async function productRate(): Promise<Finding> {
  const subject = 'ort 1024³ product';
  try {
    await useEngine('ort');
    const [a, product] = [tf.fill([1024, 1024], 0.5), compile((x: Tensor) => tf.matMul(x, x))];
    let best = Infinity;
    for (let i = 0; i < 6; i++) {
      const began = performance.now();
      product(a).dispose();
      // The first call makes the session.
      if (i > 0) best = Math.min(best, performance.now() - began);
    }
    product.dispose();
    a.dispose();
    return { subject, state: 'good', words: `${Math.round((2 * 1024 ** 3) / best / 1e6)} GFLOP/s` };
  } catch (error) {
    return { subject, state: 'bad', words: sentence(error) };
  }
}

/** Native threads while a graph is kept that uses them: `ort` gives a bounded number to all its graphs. */
function threadCount(): Finding {
  tf.tidy(() => tf.matMul(tf.fill([256, 256], 0.5), tf.fill([256, 256], 2)).dataSync());
  const backend = tf.backend();
  const wanted = backend instanceof OrtBackend ? backend.options.threads : 1;
  const all = nativeThreads();
  const words = `${pooledThreads()} beside the caller's after one product, at most ${threadBound(wanted)} for all graphs together`;
  return {
    subject: 'ort threads',
    state: 'good',
    words: `${wanted} for a graph, ${words}${all === null ? '' : `; ${all} in this process`}`,
  };
}

async function tryFolder(runs: string): Promise<Finding> {
  const probe = join(runs, `.doctor-${process.pid}`);
  try {
    mkdirSync(runs, { recursive: true });
    await writeFile(probe, 'x');
    rmSync(probe);
    return { subject: 'runs', state: 'good', words: `${runs}, ${(freeDisk(runs) / 2 ** 30).toFixed(1)} GB free` };
  } catch (error) {
    return { subject: 'runs', state: 'bad', words: sentence(error) };
  }
}

/** Seconds that the clock of the disk may differ from that of this machine. */
const CLOCK_SECONDS = 60;

/** Whether a file can be made only once, as the locks of runs need it, and whether the clock of the disk agrees with that of this machine. */
async function tryLocks(runs: string): Promise<Finding[]> {
  const probe = join(runs, `.doctor-${process.pid}`);
  try {
    await writeFile(probe, 'x');
    const seconds = (statSync(probe).mtimeMs - Date.now()) / 1000;
    const clock: Finding =
      Math.abs(seconds) <= CLOCK_SECONDS
        ? { subject: 'clock', state: 'good', words: `${new Date().toISOString()}, that of the disk agrees` }
        : {
            subject: 'clock',
            state: 'bad',
            words: `that of the disk differs by ${Math.round(seconds)} s, wanted at most ${CLOCK_SECONDS}`,
          };
    let refused = '';
    try {
      writeFileSync(probe, 'y', { flag: 'wx' });
    } catch (error) {
      refused = (error as NodeJS.ErrnoException).code ?? '';
    }
    const locks: Finding =
      refused === 'EEXIST'
        ? { subject: 'locks', state: 'good', words: 'a file is made only once' }
        : { subject: 'locks', state: 'bad', words: 'the disk lets a file be made twice: two processes could run one run' };
    return [clock, locks];
  } catch (error) {
    return [{ subject: 'locks', state: 'bad', words: sentence(error) }];
  } finally {
    rmSync(probe, { force: true });
  }
}

async function tryQueue(queue: string): Promise<Finding> {
  try {
    const place = parseRedis(queue);
    return { subject: 'queue', state: 'good', words: `Redis ${await checkRedis(place)} at ${placeText(place)}` };
  } catch (error) {
    return { subject: 'queue', state: 'bad', words: sentence(error) };
  }
}

function tryTorch(python: string): Finding {
  const subject = 'PyTorch';
  try {
    const version = execFileSync(python, ['-c', 'import torch; print(torch.__version__)'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
    return { subject, state: 'good', words: `${version} in ${python}, a peer for benchmarks` };
  } catch {
    return { subject, state: 'absent', words: `not in ${python}: benchmarks leave it out` };
  }
}
