import { OrtBackend, traceGraph, type CompiledGraph, type OperatorTime } from '@atelier/backend-ort';
import { tf, type Tensor } from './tf.ts';
import { isTensor, treeMap, type Tree } from './tree.ts';

export interface CompileOptions {
  /** Indexes of the arguments that a call uses up: all their tensors are disposed, and their memory serves later results. */
  donate?: readonly number[];
  /** Name of the graph, for profiles and saved models. */
  name?: string;
  /**
   * What the graph's threads do between calls: `spin`, which answers the next call soonest and is best for a step in a loop of its own, or
   * `sleep`, for graphs that are called in turn with others: threads that wait by spinning take the cores from them.
   */
  idle?: 'spin' | 'sleep';
  /** Names of the arguments in a saved model: with `['params', 'x']` its inputs are `params.w`, `x` and so on; `0.w` and `1` unless told. */
  argumentNames?: readonly string[];
  /**
   * Name of the result in a saved model: with `'y'` its outputs are `y`, or `y.loss` and so on. Unless told they are the paths in the result
   * (`loss`), behind `output` where the result is one tensor or a path is also the name of an input.
   */
  resultName?: string;
}

/** A compiled function is called like the function it was made from. */
export type Compiled<A extends Tree[], R extends Tree> = ((...args: A) => R) & {
  /**
   * The bytes of an `.onnx` file for arguments like these: every tensor of the arguments is an input and every tensor of the result an output,
   * in their order and named by their path. @throws Error on an engine without a graph, or if two would have one name
   */
  onnx(...args: A): Uint8Array;
  /** Where the time of a call like this goes, by operator type, longest first. @throws Error on an engine without a graph */
  profile(...args: A): OperatorTime[];
  /** Multiply-accumulates of the matrix products and convolutions of a call like this. @throws Error on an engine without a graph */
  multiplyAdds(...args: A): number;
  /** Graphs made so far: one for each set of shapes and types that was seen. */
  readonly graphs: number;
  /** Frees the sessions. */
  dispose(): void;
};

interface Trace {
  /** The arguments of the first call, for their structure; its tensors may be long disposed. */
  args: readonly Tree[];
  signature: { shape: readonly number[]; dtype: string }[];
  graph: CompiledGraph;
  /** Path of each tensor in the result. */
  paths: readonly string[];
  /** Rebuilds the result's tree around its tensors. */
  rebuild: (leaves: Tensor[]) => Tree;
}

/**
 * Makes of a pure function over trees of tensors one that is traced once for each set of shapes and types and then replayed as one graph:
 * no JavaScript of `fn`, no gradient tape and no intermediate tensors in a call.
 *
 * `fn` must not read values, and must not depend on anything but its arguments: other tensors that it uses become constants of the graph, as
 * they are at the first call. A number that changes from call to call is passed as a scalar tensor. Results belong to the caller. Inside
 * another compiled function the call is inlined. On an engine without a graph `fn` runs eagerly, with the same results.
 */
export function compile<A extends Tree[], R extends Tree>(fn: (...args: A) => R, options: CompileOptions = {}): Compiled<A, R> {
  const { donate = [], name = fn.name === '' ? 'compiled' : fn.name, idle = 'spin', argumentNames = [], resultName } = options;
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
    const signature = leaves.map(({ shape, dtype }) => ({ shape: [...shape], dtype }));
    let rebuild: Trace['rebuild'] | undefined;
    let paths: string[] = [];
    const graph = traceGraph(
      backend,
      signature,
      (inputs) => {
        let next = 0;
        const result = fn(...(args.map((arg) => treeMap(() => inputs[next++]!, arg)) as A));
        paths = pathsOf(result);
        const template = treeMap((leaf) => leaf, result);
        rebuild = (outputs) => {
          let k = 0;
          return treeMap(() => outputs[k++]!, template);
        };
        return leavesOf(result);
      },
      name,
      idle,
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
    const backend = tf.backend();
    if (!(backend instanceof OrtBackend)) return runEagerly(fn, args, donate);
    if (backend.isTracing) return fn(...args);
    const { graph, rebuild } = traceFor(backend, args, leaves);
    return rebuild(graph.run(leaves, donated)) as R;
  };

  const graphBackend = (what: string): OrtBackend => {
    const backend = tf.backend();
    if (!(backend instanceof OrtBackend)) throw new Error(`compile ${name}: ${what} needs the engine 'ort', got '${tf.getBackend()}'`);
    return backend;
  };

  const compiled = Object.assign(call, {
    onnx: (...args: A): Uint8Array => {
      const { graph, paths } = traceFor(graphBackend('onnx'), args, args.flatMap(leavesOf));
      const inputs = args.flatMap((arg, i) => pathsOf(arg).map((path) => joinPath(argumentNames[i] ?? String(i), path)));
      const prefix = resultName ?? (paths.some((path) => path === '' || inputs.includes(path)) ? 'output' : '');
      return graph.onnx(
        inputs,
        paths.map((path) => joinPath(prefix, path)),
      );
    },
    profile: (...args: A): OperatorTime[] => {
      const leaves = args.flatMap(leavesOf);
      return traceFor(graphBackend('profile'), args, leaves).graph.profile(leaves);
    },
    multiplyAdds: (...args: A): number => traceFor(graphBackend('multiplyAdds'), args, args.flatMap(leavesOf)).graph.multiplyAdds,
    dispose: () => {
      for (const { graph } of traces) graph.dispose();
      traces.length = 0;
    },
  });
  return Object.defineProperty(compiled, 'graphs', { get: () => traces.length }) as Compiled<A, R>;
}

function runEagerly<A extends Tree[], R extends Tree>(fn: (...args: A) => R, args: A, donate: readonly number[]): R {
  // A result may be an argument itself, or one tensor twice: each result is a tensor of its own.
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

/** The leaves in the order of `treeMap`, without their paths: this runs in every compiled call. */
function collect(node: Tree, out: Tensor[]): void {
  if (isTensor(node)) out.push(node);
  else if (Array.isArray(node)) for (const child of node as Tree[]) collect(child, out);
  else if (node !== null && typeof node === 'object') for (const key in node) collect((node as Record<string, Tree>)[key]!, out);
  else throw new Error(`compile: wanted tensors in lists and records, got ${node === null ? 'null' : typeof node}`);
}
