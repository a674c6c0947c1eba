import { compile, type Compiled, type CompileOptions } from './compile.ts';
import { tf, type Tensor } from './tf.ts';
import { type Tree } from './tree.ts';

/** A model of TensorFlow.js: of `tf.layers`, or loaded with `tf.loadGraphModel`. */
export type TfjsModel = tf.LayersModel | tf.GraphModel;
/** What the model takes: one tensor, a list, or a record with the names of its inputs. */
export type ModelInputs = Tensor | Tensor[] | Record<string, Tensor>;

/** A model whose calls run as one graph for each combination of input shapes. */
export interface CompiledModel {
  /** Like `model.predict`. A model of `tf.layers` computes the whole batch at once. */
  predict(inputs: ModelInputs): Tensor | Tensor[] | Record<string, Tensor>;
  /** Like `model.execute` of a graph model: the values of some of its nodes. */
  execute(inputs: ModelInputs, outputs: string | string[]): Tensor | Tensor[];
  /** The number of graphs made until now. */
  readonly graphs: number;
  /** Frees the graphs. The model stays usable. */
  dispose(): void;
}

/**
 * Compiles the calls of a model by the shapes of its inputs. The weights become constants of the graphs. If a model of `tf.layers` gets other
 * weights (by training, or by loading), its graphs are made anew at the next call.
 *
 * @throws Error for a model that keeps a state between calls
 */
export function compileModel(model: TfjsModel, options: Omit<CompileOptions, 'argumentNames' | 'resultName'> = {}): CompiledModel {
  const layers = 'predictOnBatch' in model ? model : null;
  if (layers?.stateful === true)
    throw new Error(`compileModel ${layers.name}: wanted a model without a state between calls, got a stateful one`);
  const calls = new Map<string, Compiled<[Tree], Tree>>();
  let weights: readonly object[] = [];

  const dispose = (): void => {
    for (const call of calls.values()) call.dispose();
    calls.clear();
  };
  const call = (key: string, run: (inputs: never) => unknown, inputs: ModelInputs): never => {
    const now = layers === null ? [] : layers.weights.map((weight) => weight.read().dataId);
    if (now.length !== weights.length || now.some((dataId, i) => dataId !== weights[i])) dispose();
    weights = now;
    let compiled = calls.get(key);
    if (compiled === undefined) {
      compiled = compile((xs: Tree) => run(xs as never) as Tree, { name: layers?.name ?? 'model', ...options });
      calls.set(key, compiled);
    }
    return compiled(inputs as Tree) as never;
  };

  return {
    predict: (inputs) => call('', (xs) => (layers === null ? (model as tf.GraphModel).predict(xs) : layers.predictOnBatch(xs)), inputs),
    execute: (inputs, outputs) => {
      if (layers !== null)
        throw new Error(`compileModel ${layers.name}: execute: wanted a graph model, got a model of tf.layers; use predict`);
      const names = typeof outputs === 'string' ? [outputs] : outputs;
      const results = call(JSON.stringify(names), (xs) => (model as tf.GraphModel).execute(xs, names), inputs) as Tensor | Tensor[];
      return Array.isArray(results) && results.length === 1 && !Array.isArray(outputs) ? results[0]! : results;
    },
    get graphs() {
      return [...calls.values()].reduce((sum, { graphs }) => sum + graphs, 0);
    },
    dispose,
  };
}
