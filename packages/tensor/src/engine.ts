import type { Device, OrtBackend } from '@atelier/backend-ort';
import { tf, type Tensor } from './tf.ts';

/** `ort` is the engine of this workspace; it and `tensorflow` run in Node only, `webgl` in pages only. All but `ort` belong to TensorFlow.js. */
export type EngineName = 'ort' | 'cpu' | 'wasm' | 'webgl' | 'tensorflow';
export interface EngineOptions {
  /** Execution provider of `ort`. */
  device?: Device;
  /** Number of threads of `ort`; by default one per core. */
  threads?: number;
}

const names: readonly EngineName[] = ['ort', 'cpu', 'wasm', 'webgl', 'tensorflow'];
/** Node's process; undefined in a page, also where something puts another `process` there. */
const node = ((process?: NodeJS.Process) => (process?.versions?.node === undefined ? undefined : process))(
  (globalThis as { process?: NodeJS.Process }).process,
);
const environment = node?.env;
const TFJS_NODE = '@tensorflow/tfjs-node';

/**
 * Selects an engine for all following computations, and returns its name. Without `name`, the environment variable `ATELIER_ENGINE`
 * decides; the default is `ort`. In a page, the default is `webgl` if it starts, and `cpu` otherwise.
 *
 * The code of an engine is loaded when it is selected. So a page never loads `ort`.
 *
 * @throws Error if the engine is unknown, not installed, or does not start
 */
export async function useEngine(name?: string, options: EngineOptions = {}): Promise<EngineName> {
  const tuned = options.device !== undefined || options.threads !== undefined;
  const wanted = name ?? environment?.ATELIER_ENGINE;
  if (wanted === undefined && environment === undefined) {
    if (tuned) throw new Error("useEngine: device and threads are options of 'ort', which runs in Node only");
    return (await tf.setBackend('webgl')) ? 'webgl' : useEngine('cpu');
  }
  const engine = (wanted ?? 'ort') as EngineName;
  if (!names.includes(engine)) throw new Error(`useEngine: wanted one of ${names.join(', ')}, got '${engine}'`);
  if (engine !== 'ort' && tuned) throw new Error(`useEngine: device and threads are options of 'ort', got them for '${engine}'`);
  await load(engine, options, tuned);
  let ready = false;
  try {
    ready = await tf.setBackend(engine);
  } catch (error) {
    throw new Error(`useEngine: '${engine}' did not start: ${(error as Error).message}`);
  }
  if (!ready) throw new Error(`useEngine: '${engine}' did not start`);
  return engine;
}

/** Loads and registers the code of an engine. Bundlers for pages leave `ort` out (field `browser` of package.json). */
async function load(engine: EngineName, options: EngineOptions, tuned: boolean): Promise<void> {
  if (engine === 'ort' && environment === undefined)
    throw new Error("useEngine: 'ort' runs in Node only; in a page choose webgl, wasm or cpu");
  try {
    if (engine === 'ort' && (tuned || tf.findBackendFactory('ort') === null)) (await import('@atelier/backend-ort')).registerOrt(options);
    if (engine === 'wasm') await import('@tensorflow/tfjs-backend-wasm');
    if (engine === 'tensorflow') await import(/* @vite-ignore */ /* webpackIgnore: true */ TFJS_NODE);
  } catch (error) {
    const [reason] = (error as Error).message.split('\n');
    if (engine === 'ort') throw error;
    const advice = engine === 'wasm' ? '@tensorflow/tfjs-backend-wasm' : `${TFJS_NODE} (docs/tfjs-node.md says how to get it)`;
    throw new Error(`useEngine: '${engine}' needs ${advice}, which could not be loaded: ${reason}`);
  }
}

/** The backend in use if it makes graphs, otherwise null. */
export function graphBackend(): OrtBackend | null {
  const backend = tf.backend();
  return 'traceGraph' in backend ? (backend as OrtBackend) : null;
}

/** Whether a function is being compiled now: then tensors have no values yet, so that checks of values must be left out. */
export const isTracing = (): boolean => graphBackend()?.isTracing ?? false;

/** The engine in use. */
export const engineName = (): string => tf.getBackend();

/**
 * Runs one operator of the engine that replaces several operators of TensorFlow.js. Returns null if the engine has no operator of that
 * name. Then the caller runs the several operators. The operator has no gradient, so use it inside `tf.customGrad`.
 */
export function runFused(
  kernel: string,
  inputs: Record<string, Tensor>,
  attributes: Record<string, number | boolean> = {},
): Tensor[] | null {
  if (tf.getBackend() !== 'ort' || tf.getKernel(kernel, 'ort') === undefined) return null;
  const result = tf.engine().runKernel(kernel, inputs, attributes) as Tensor | Tensor[];
  return Array.isArray(result) ? result : [result];
}
