import type { CompiledGraph, OperatorTime, OrtBackend } from '@atelier/backend-ort';
import { graphBackend } from './engine.ts';
import { tf, type Tensor } from './tf.ts';
import { isTensor, treeMap, type Tree } from './tree.ts';

export interface CompileOptions {
  /** Indexes of arguments that a call may use up: all their tensors are disposed, and their memory is used for later results. */
  donate?: readonly number[];
  /** Name of the graph, for profiles and saved models. */
  name?: string;
  /**
   * What the threads of the graph do between calls. With `spin` the next call starts sooner; this is best for a step that is called in a
   * loop. `sleep` is for graphs that are called in turns with others, because spinning threads take the cores away from the other graphs.
   */
  idle?: 'spin' | 'sleep';
  /**
   * Whether the graph keeps the memory of a call for the next call. This is best for a step in a loop, and it is the default. If many graphs are
   * called in turns, the memory of all of them adds up; with `false` each graph gives its memory back.
   */
  keepMemory?: boolean;
  /**
   * Names of the arguments in a saved model. With `['params', 'x']`, its inputs are `params.w`, `x` and so on. By default they are `0.w`
   * and `1`.
   */
  argumentNames?: readonly string[];
  /**
   * Name of the result in a saved model. With `'y'`, its outputs are `y`, or `y.loss` and so on. By default they are the paths in the
   * result (`loss`). A result that is one tensor is called `output`. If a path is also the name of an input, all outputs get the prefix
   * `output`.
   */
  resultName?: string;
}

/** A compiled function. It is called like the original function. */
export type Compiled<A extends Tree[], R extends Tree> = ((...args: A) => R) & {
  /**
   * The bytes of an `.onnx` file for arguments like these. Every tensor of the arguments is an input, and every tensor of the result is an
   * output, in order. Their names are their paths.
   * @throws Error on an engine without a graph, or if a name would occur twice
   */
  onnx(...args: A): Uint8Array;
  /**
   * The time per operator type of a call with these arguments, longest first.
   * @throws Error on an engine without a graph
   */
  profile(...args: A): OperatorTime[];
  /**
   * Multiply-accumulates of the matrix products and convolutions of a call with these arguments.
   * @throws Error on an engine without a graph
   */
  multiplyAdds(...args: A): number;
  /**
   * The most bytes that the tensors of a call with these arguments take at one time, in the order of the graph. Arguments, constants and results
   * count for the whole call, every other tensor from its operator until the last operator that reads it.
   * @throws Error on an engine without a graph
   */
  peakBytes(...args: A): number;
  /** The number of graphs made until now: one for each combination of structure, shapes and types. */
  readonly graphs: number;
  /** Frees the sessions. */
  dispose(): void;
};

interface Trace {
  /** The arguments of the first call. Only their structure is used, because the tensors may already be disposed. */
  args: readonly Tree[];
  signature: { shape: readonly number[]; dtype: string }[];
  graph: CompiledGraph;
  /** The path of each tensor in the result. */
  paths: readonly string[];
  /** Makes a result with the structure of the first one from other tensors. */
  rebuild: (leaves: Tensor[]) => Tree;
}

/**
 * Compiles a pure function of trees of tensors. It is traced once for each combination of structure, shapes and types. After that a call
 * runs one graph: it runs no JavaScript of `fn`, records no gradients and makes no intermediate tensors.
 *
 * `fn` must not read values. Its result must depend on nothing but its arguments: other tensors that it uses become constants of the graph,
 * with the values of the first call. If a number changes from call to call, pass it as a scalar tensor. Results belong to the caller.
 * Inside another compiled function, the call becomes part of that function's graph. On an engine without a graph `fn` runs uncompiled, with
 * the same results.
 */
export function compile<A extends Tree[], R extends Tree>(fn: (...args: A) => R, options: CompileOptions = {}): Compiled<A, R> {
  const {
    donate = [],
    name = fn.name === '' ? 'compiled' : fn.name,
    idle = 'spin',
    keepMemory = true,
    argumentNames = [],
    resultName,
  } = options;
  for (const index of donate)
    if (!Number.isInteger(index) || index < 0) throw new Error(`compile ${name}: donate: wanted indexes of arguments, got ${index}`);
  if (idle !== 'spin' && idle !== 'sleep') throw new Error(`compile ${name}: idle: wanted 'spin' or 'sleep', got '${String(idle)}'`);
  const traces: Trace[] = [];
  let owner: OrtBackend | undefined;

  const traceFor = (backend: OrtBackend, args: A, leaves: Tensor[]): Trace => {
    if (owner !== backend) {
      traces.length = 0;
      owner = backend;
    }
    const at = traces.findIndex((trace) => fits(trace.signature, leaves) && sameStructure(trace.args, args));
    if (at >= 0) return traces[at]!;
    const donated = args.flatMap((arg, i) => leavesOf(arg).map(() => donate.includes(i)));
    const signature = leaves.map(({ shape, dtype }) => ({ shape: [...shape], dtype }));
    let rebuild: Trace['rebuild'] | undefined;
    let paths: string[] = [];
    const graph = backend.traceGraph(
      signature,
      (inputs) => {
        let next = 0;
        const result = fn(...(args.map((arg) => treeMap(() => inputs[next++]!, arg)) as A));
        paths = pathsOf(result);
        const template = treeMap((leaf) => leaf, result);
        rebuild = (outputs) => {
          let next = 0;
          return likeTree(template, () => outputs[next++]!);
        };
        return leavesOf(result);
      },
      name,
      { idle, keepMemory, donated },
    );
    const trace = { args: treeMap((leaf) => leaf, args as Tree[]) as Tree[], signature, graph, paths, rebuild: rebuild! };
    traces.push(trace);
    return trace;
  };

  const call = (...args: A): R => {
    const leaves: Tensor[] = [];
    const donated: boolean[] = [];
    args.forEach((arg, i) => {
      collect(arg, leaves);
      while (donated.length < leaves.length) donated.push(donate.includes(i));
    });
    for (const leaf of leaves)
      if (leaf.isDisposed) throw new Error(`compile ${name}: an argument was disposed, or donated to a call, before this one`);
    const backend = graphBackend();
    if (backend === null) return runEagerly(fn, args, donate);
    if (backend.isTracing) return fn(...args);
    const { graph, rebuild } = traceFor(backend, args, leaves);
    return rebuild(graph.run(leaves, donated)) as R;
  };

  const wantGraph = (what: string): OrtBackend => {
    const backend = graphBackend();
    if (backend === null) throw new Error(`compile ${name}: ${what} needs the engine 'ort', got '${tf.getBackend()}'`);
    return backend;
  };

  const compiled = Object.assign(call, {
    onnx: (...args: A): Uint8Array => {
      const { graph, paths } = traceFor(wantGraph('onnx'), args, args.flatMap(leavesOf));
      const inputs = args.flatMap((arg, i) => pathsOf(arg).map((path) => joinPath(argumentNames[i] ?? String(i), path)));
      const prefix = resultName ?? (paths.some((path) => path === '' || inputs.includes(path)) ? 'output' : '');
      return graph.onnx(
        inputs,
        paths.map((path) => joinPath(prefix, path)),
      );
    },
    profile: (...args: A): OperatorTime[] => {
      const leaves = args.flatMap(leavesOf);
      return traceFor(wantGraph('profile'), args, leaves).graph.profile(leaves);
    },
    multiplyAdds: (...args: A): number => traceFor(wantGraph('multiplyAdds'), args, args.flatMap(leavesOf)).graph.multiplyAdds,
    peakBytes: (...args: A): number => traceFor(wantGraph('peakBytes'), args, args.flatMap(leavesOf)).graph.peakBytes,
    dispose: () => {
      for (const { graph } of traces) graph.dispose();
      traces.length = 0;
    },
  });
  return Object.defineProperty(compiled, 'graphs', { get: () => traces.length }) as Compiled<A, R>;
}

function runEagerly<A extends Tree[], R extends Tree>(fn: (...args: A) => R, args: A, donate: readonly number[]): R {
  // A result may be one of the arguments, or the same tensor twice. `clone` makes each result a separate tensor.
  const result = tf.tidy(() => treeMap((leaf) => leaf.clone(), fn(...args)) as never) as R;
  for (const index of donate) if (args[index] !== undefined) for (const leaf of leavesOf(args[index])) leaf.dispose();
  return result;
}

function fits(signature: Trace['signature'], leaves: readonly Tensor[]): boolean {
  if (signature.length !== leaves.length) return false;
  for (let i = 0; i < leaves.length; i++) {
    const { shape, dtype } = signature[i]!;
    const leaf = leaves[i]!;
    if (leaf.dtype !== dtype || leaf.shape.length !== shape.length) return false;
    for (let axis = 0; axis < shape.length; axis++) if (leaf.shape[axis] !== shape[axis]) return false;
  }
  return true;
}

function sameStructure(a: Tree | readonly Tree[], b: Tree | readonly Tree[]): boolean {
  if (isTensor(a) || isTensor(b)) return isTensor(a) && isTensor(b);
  const [keys, others] = [Object.keys(a), Object.keys(b)];
  if (Array.isArray(a) !== Array.isArray(b) || keys.length !== others.length) return false;
  return keys.every((key, i) => key === others[i] && sameStructure((a as Record<string, Tree>)[key]!, (b as Record<string, Tree>)[key]!));
}

/** A tree of the same structure with other leaves. Nothing is checked and no path is computed, because this runs in every compiled call. */
function likeTree(template: Tree, next: () => Tensor): Tree {
  if (isTensor(template)) return next();
  if (Array.isArray(template)) return (template as Tree[]).map((child) => likeTree(child, next));
  return Object.fromEntries(Object.entries(template).map(([name, child]) => [name, likeTree(child as Tree, next)]));
}

/** Paths of the leaves in the order of `treeMap`. */
function pathsOf(tree: Tree): string[] {
  const paths: string[] = [];
  treeMap((leaf, path) => {
    paths.push(path);
    return leaf;
  }, tree);
  return paths;
}

const joinPath = (...parts: string[]): string => parts.filter((part) => part !== '').join('.');

const leavesOf = (tree: Tree): Tensor[] => {
  const out: Tensor[] = [];
  collect(tree, out);
  return out;
};

/** The leaves in the order of `treeMap`. Paths are not computed, because this runs in every compiled call. */
function collect(node: Tree, out: Tensor[]): void {
  if (isTensor(node)) out.push(node);
  else if (Array.isArray(node)) for (const child of node as Tree[]) collect(child, out);
  else if (node !== null && typeof node === 'object') for (const key in node) collect((node as Record<string, Tree>)[key]!, out);
  else throw new Error(`compile: wanted tensors in lists and records, got ${node === null ? 'null' : typeof node}`);
}
