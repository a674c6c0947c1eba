import { registerOrt, type Device } from '@atelier/backend-ort';
import { tf, type Tensor } from './tf.ts';

/** `ort` is the engine of this workspace. The others belong to TensorFlow.js. */
export type EngineName = 'ort' | 'cpu' | 'wasm' | 'tensorflow';
export interface EngineOptions {
  /** Execution provider of `ort`. */
  device?: Device;
  /** Number of threads of `ort`; by default one per core. */
  threads?: number;
}

const names: readonly EngineName[] = ['ort', 'cpu', 'wasm', 'tensorflow'];

/**
 * Selects an engine for all following computations, and returns its name. Without `name`, the environment variable `ATELIER_ENGINE`
 * decides; the default is `ort`.
 *
 * @throws Error if the engine is unknown, not installed, or does not start
 */
export async function useEngine(name: string = process.env.ATELIER_ENGINE ?? 'ort', options: EngineOptions = {}): Promise<EngineName> {
  if (!names.includes(name as EngineName)) throw new Error(`useEngine: wanted one of ${names.join(', ')}, got '${name}'`);
  if (name !== 'ort' && (options.device !== undefined || options.threads !== undefined)) {
    throw new Error(`useEngine: device and threads are options of 'ort', got them for '${name}'`);
  }
  if (name === 'ort' && (options.device !== undefined || options.threads !== undefined || tf.findBackendFactory('ort') === null))
    registerOrt(options);
  if (name === 'wasm') await load('@tensorflow/tfjs-backend-wasm', name);
  if (name === 'tensorflow') await load('@tensorflow/tfjs-node', name, ' (docs/tfjs-node.md says how to get it)');
  let ready = false;
  try {
    ready = await tf.setBackend(name);
  } catch (error) {
    throw new Error(`useEngine: '${name}' did not start: ${(error as Error).message}`);
  }
  if (!ready) throw new Error(`useEngine: '${name}' did not start`);
  return name as EngineName;
}

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

async function load(module: string, name: string, advice = ''): Promise<void> {
  try {
    await import(module);
  } catch (error) {
    const [reason] = (error as Error).message.split('\n');
    throw new Error(`useEngine: '${name}' needs ${module}${advice}, which could not be loaded: ${reason}`);
  }
}
