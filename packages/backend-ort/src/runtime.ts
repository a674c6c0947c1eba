import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import type { HostArray, OnnxType } from './onnx.ts';

/**
 * The one place that touches ONNX Runtime. Its public `session.run` is asynchronous only in form; the native class below it runs
 * synchronously, which is what TensorFlow.js's `dataSync` needs. That class is not public API: the version is pinned.
 */

export type Device = 'cpu' | 'webgpu' | 'cuda';

export interface RuntimeOptions {
  /** Execution provider. */
  device: Device;
  /** Threads that one operator may use. */
  threads: number;
}

/** A tensor at the border: a view on host memory. */
export interface HostValue {
  type: OnnxType;
  dims: readonly number[];
  data: HostArray;
}

export interface SessionOptions extends RuntimeOptions {
  /** How much ONNX Runtime rewrites the graph before its first run. */
  optimize: 'basic' | 'all';
  /** Whether the session keeps the memory of a run for the next one. */
  keepMemory: boolean;
  /**
   * What the session's threads do after a run: `spin` for a while, ready for the next one at once, or `sleep`, so that they do not take the
   * cores from sessions that run in turn with this one.
   */
  idle: 'spin' | 'sleep';
  /** Path prefix of a profile file that the session writes when it ends. */
  profile?: string;
}

export interface Session {
  /** Runs the graph. Each fetch is written into its preallocated array. */
  run(feeds: Record<string, HostValue>, fetches: Record<string, HostValue>): void;
  /** Ends profiling, if it was asked for, and frees the session. */
  dispose(): void;
}

interface NativeSession {
  loadModel(buffer: ArrayBufferLike, offset: number, length: number, options: object): void;
  run(feeds: object, fetches: object, options: object): Record<string, unknown>;
  endProfiling(): void;
  dispose(): void;
}
interface NativeBinding {
  initOrt(): void;
  binding: { InferenceSession: new () => NativeSession; listSupportedBackends(): { name: string; bundled: boolean }[] };
}
type TensorClass = new (type: string, data: HostArray, dims: readonly number[]) => unknown;

const load = createRequire(import.meta.url);
let loaded: { native: NativeBinding; Tensor: TensorClass } | undefined;

function runtime(): { native: NativeBinding; Tensor: TensorClass } {
  if (loaded === undefined) {
    const native = load('onnxruntime-node/dist/binding.js') as NativeBinding;
    const { Tensor } = load('onnxruntime-node') as { Tensor: TensorClass };
    native.initOrt();
    loaded = { native, Tensor };
  }
  return loaded;
}

/** Execution providers that this build of ONNX Runtime brings along. */
export function bundledDevices(): string[] {
  return runtime()
    .native.binding.listSupportedBackends()
    .filter((backend) => backend.bundled)
    .map((backend) => backend.name);
}

/** Both device and threads, with defaults: the CPU, and as many threads as `ATELIER_THREADS` says, or one per core. */
export function runtimeOptions(options: Partial<RuntimeOptions> = {}): RuntimeOptions {
  const wanted = process.env.ATELIER_THREADS;
  const { device = 'cpu', threads = wanted === undefined || wanted === '' ? availableParallelism() : Number(wanted) } = options;
  if (!['cpu', 'webgpu', 'cuda'].includes(device))
    throw new Error(`ort: device: wanted 'cpu', 'webgpu' or 'cuda', got '${String(device)}'`);
  if (!Number.isInteger(threads) || threads < 1) throw new Error(`ort: threads: wanted a whole number from 1, got ${threads}`);
  return { device, threads };
}

/** @throws Error with ONNX Runtime's own sentence when it refuses the model. */
export function createSession(model: Uint8Array, options: SessionOptions): Session {
  const { native, Tensor } = runtime();
  const session = new native.binding.InferenceSession();
  told(`ort: no session on device '${options.device}'`, () =>
    session.loadModel(model.buffer, model.byteOffset, model.byteLength, {
      executionProviders: [options.device],
      intraOpNumThreads: options.threads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      graphOptimizationLevel: options.optimize,
      enableCpuMemArena: options.keepMemory,
      // A plan of the whole run's memory is laid out beside what the first run took, and both are kept: half as much again for no time saved.
      enableMemPattern: false,
      // What goes wrong is thrown, and not printed as well.
      logSeverityLevel: 4,
      extra: {
        // It would move a factor of any size past a matrix product, and the result may then leave the range of float32 (see rewrite.ts).
        optimization: { disable_specified_optimizers: 'MatMulScaleFusion' },
        ...(options.idle === 'sleep' ? { session: { force_spinning_stop: '1' } } : {}),
      },
      ...(options.profile === undefined ? {} : { enableProfiling: true, profileFilePrefix: options.profile }),
    }),
  );
  const wrap = (values: Record<string, HostValue>): Record<string, unknown> => {
    const out: Record<string, unknown> = {};
    for (const name in values) {
      const { type, data, dims } = values[name]!;
      out[name] = new Tensor(type, data, dims);
    }
    return out;
  };
  return {
    run(feeds, fetches) {
      told('ort: the graph did not run', () => session.run(wrap(feeds), wrap(fetches), {}));
    },
    dispose() {
      if (options.profile !== undefined) session.endProfiling();
      session.dispose();
    },
  };
}

/** ONNX Runtime's first sentence, behind where it was said: the rest is paths of the machine it was built on. */
function told<T>(where: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    const [first] = (error as Error).message.split('\n');
    throw new Error(`${where}: ${first!.replace(/\/onnxruntime_src\/\S+ /g, '')}`);
  }
}
