import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { freeNow } from './free-memory.ts';
import type { HostArray, OnnxType } from './onnx.ts';

/**
 * The only file that calls ONNX Runtime. TensorFlow.js's `dataSync` must run a graph synchronously. The public `session.run` returns a
 * promise, but the native class behind it is synchronous. This class is not public API, so the version is pinned.
 */

export type Device = 'cpu' | 'webgpu' | 'cuda';

export interface RuntimeOptions {
  /** Execution provider. */
  device: Device;
  /** Threads that one operator may use. */
  threads: number;
}

/** A tensor that is passed to or from ONNX Runtime: a view on host memory. The native class reads these four properties of a tensor. */
export interface HostValue {
  type: OnnxType;
  dims: readonly number[];
  data: HostArray;
  location: 'cpu';
}

export const hostValue = ({ dtype, shape }: { dtype: OnnxType; shape: readonly number[] }, data: HostArray): HostValue => ({
  type: dtype,
  dims: shape,
  data,
  location: 'cpu',
});

export interface SessionOptions extends RuntimeOptions {
  /** How much ONNX Runtime rewrites the graph before its first run. */
  optimize: 'basic' | 'all';
  /** Whether the session keeps its memory after a run, for the next run. */
  keepMemory: boolean;
  /**
   * What the threads of the session do after a run. With `spin` they wait in a busy loop for a while, so that the next run starts at once.
   * With `sleep` they leave the cores to other sessions, which run in turns with this one.
   */
  idle: 'spin' | 'sleep';
  /** Path prefix of a profile file. The session writes the file when it is disposed. */
  profile?: string;
}

export interface Session {
  /** Runs the graph. Results are written into the arrays of `fetches`. */
  run(feeds: Record<string, HostValue>, fetches: Record<string, HostValue>): void;
  /** Ends profiling, if it is switched on, and frees the session. */
  dispose(): void;
}

interface NativeSession {
  loadModel(buffer: ArrayBufferLike, offset: number, length: number, options: object): void;
  run(feeds: object, fetches: object, options: object): Record<string, { data: HostArray }>;
  endProfiling(): void;
  dispose(): void;
}
interface NativeBinding {
  initOrt(): void;
  binding: { InferenceSession: new () => NativeSession; listSupportedBackends(): { name: string; bundled: boolean }[] };
}

const load = createRequire(import.meta.url);
let loaded: NativeBinding | undefined;
let open = 0;

/** The number of native sessions of this process that are open now: of the cache, of compiled graphs, and of those that nobody disposed. */
export const openSessions = (): number => open;

function runtime(): NativeBinding {
  if (loaded === undefined) {
    loaded = installed('onnxruntime-node/dist/binding.js') as NativeBinding;
    loaded.initOrt();
  }
  return loaded;
}

/** npm leaves ONNX Runtime out, without an error, if its own installation fails. This happens where the host of its CUDA files cannot be reached. */
function installed(module: string): unknown {
  try {
    return load(module);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error;
    throw new Error(
      "ort: wanted the package onnxruntime-node, got none; install it without its download of CUDA files: ONNXRUNTIME_NODE_INSTALL=skip npm install onnxruntime-node@1.30.0, or choose the engine 'wasm' or 'cpu'",
      { cause: error },
    );
  }
}

/**
 * Checks that ONNX Runtime is installed and has a device. Without this check, its native code would print many lines for a device that it lacks.
 * @throws Error with what is missing and how to install it
 */
export function checkRuntime({ device }: RuntimeOptions): void {
  const bundled = bundledDevices();
  if (device !== 'cuda' || bundled.includes(device)) return;
  const folder = join(dirname(load.resolve('onnxruntime-node/package.json')), 'bin', 'napi-v6', process.platform, process.arch);
  const library = process.platform === 'win32' ? 'onnxruntime_providers_cuda.dll' : 'libonnxruntime_providers_cuda.so';
  if (!existsSync(join(folder, library)))
    throw new Error(
      `ort: device 'cuda' needs ${library}, which is not installed; ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node downloads it (devices that come along: ${bundled.join(', ')})`,
    );
}

/** The execution providers that this build of ONNX Runtime contains. */
export function bundledDevices(): string[] {
  return runtime()
    .binding.listSupportedBackends()
    .filter((backend) => backend.bundled)
    .map((backend) => backend.name);
}

/** Device and threads with their defaults: the CPU, and `ATELIER_THREADS` threads, or one per core. */
export function runtimeOptions(options: Partial<RuntimeOptions> = {}): RuntimeOptions {
  const wanted = process.env.ATELIER_THREADS;
  const { device = 'cpu', threads = wanted === undefined || wanted === '' ? availableParallelism() : Number(wanted) } = options;
  if (!['cpu', 'webgpu', 'cuda'].includes(device))
    throw new Error(`ort: device: wanted 'cpu', 'webgpu' or 'cuda', got '${String(device)}'`);
  if (!Number.isInteger(threads) || threads < 1) throw new Error(`ort: threads: wanted a whole number from 1, got ${threads}`);
  return { device, threads };
}

/** @throws Error with ONNX Runtime's own message if it rejects the model. */
export function createSession(model: Uint8Array, options: SessionOptions): Session {
  const session = new (runtime().binding.InferenceSession)();
  told(`ort: no session on device '${options.device}'`, () =>
    session.loadModel(model.buffer, model.byteOffset, model.byteLength, {
      executionProviders: [options.device],
      intraOpNumThreads: options.threads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      graphOptimizationLevel: options.optimize,
      enableCpuMemArena: options.keepMemory,
      // With a memory pattern, ONNX Runtime keeps one large plan of a run's memory in addition to the memory of the first run. This takes
      // half as much memory again and saves no time.
      enableMemPattern: false,
      // Errors are thrown, so they need not be printed too.
      logSeverityLevel: 4,
      extra: {
        // This optimizer moves factors of any size past a matrix product. Then the result may leave the range of float32 (see rewrite.ts).
        optimization: { disable_specified_optimizers: 'MatMulScaleFusion' },
        ...(options.idle === 'sleep' ? { session: { force_spinning_stop: '1' } } : {}),
      },
      ...(options.profile === undefined ? {} : { enableProfiling: true, profileFilePrefix: options.profile }),
    }),
  );
  open++;
  return {
    run(feeds, fetches) {
      // The binding returns a copy of each result, also of those that it wrote into the arrays of `fetches`.
      const copies = told('ort: the graph did not run', () => session.run(feeds, fetches, {}));
      freeNow(Object.values(copies).map(({ data }) => data));
    },
    dispose() {
      if (options.profile !== undefined) session.endProfiling();
      session.dispose();
      open--;
    },
  };
}

/** Throws the first line of ONNX Runtime's message after `where`. The other lines are paths on the machine where it was built. */
function told<T>(where: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    const [first] = (error as Error).message.split('\n');
    throw new Error(`${where}: ${first!.replace(/\/onnxruntime_src\/\S+ /g, '')}`);
  }
}
