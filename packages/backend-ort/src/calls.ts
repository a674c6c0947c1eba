import type { OrtBackend, TensorInfo } from './backend.ts';
import { Entry, holding } from './entry.ts';
import { isPending, sameShape, sizeOf, type Node } from './graph.ts';
import { deliver, KernelCall, type Kernel } from './kernel.ts';
import { Plan } from './plan.ts';
import type { Evaluation } from './session-cache.ts';
import {
  copyOf,
  countOf,
  isEqual,
  isLike,
  isPlain,
  listOf,
  outsideOf,
  rootStep,
  type Attributes,
  type Infos,
  type Inputs,
  type Operand,
  type Step,
} from './steps.ts';

/**
 * Programs call the same kernels again and again. So the calls between two evaluations are remembered as a path in a tree: a step says
 * which kernel was called, on which earlier results or values from outside, with which shapes and attributes. A program that goes along a
 * known path makes no nodes, because the steps already say the shape and type of each result. At its end the path and the results that are still
 * alive name a plan: the session that computes them, and which value goes into which input.
 *
 * Where a program leaves the known paths, the nodes of its path are made from the steps, and the new calls become new steps.
 */

/** Above this number of steps, all paths are forgotten, so that a program that never repeats itself keeps its memory bounded. */
const MAX_STEPS = 20_000;
/** Above this number of steps with the same kernel after the same step, the oldest is forgotten: one of their attributes changes at every call. */
const MAX_BRANCHES = 16;
/** Number of plans at the end of a path, one for each set of live results. */
const MAX_PLANS = 8;

export class Calls {
  private readonly backend: OrtBackend;
  private root = rootStep();
  private step = this.root;
  private steps = 0;
  /**
   * `known`: the results of this path have no nodes. `open`: they have. `left`: something on the way cannot be remembered, so until the next
   * evaluation nothing is.
   */
  private state: 'known' | 'open' | 'left' = 'known';
  private epoch = 1;
  private results: Entry[] = [];
  private outside: (Node | Entry)[] = [];
  /** Values from outside that the call in question uses first. */
  private met: (Node | Entry)[] = [];
  /** True while nodes are made from steps. Then operands may belong to tensors that are gone. */
  isRecalling = false;
  /** True while a kernel runs. */
  isRunning = false;
  /** Number of paths that ran without making a node, and of steps made, for tests. */
  replayed = 0;
  recorded = 0;

  constructor(backend: OrtBackend) {
    this.backend = backend;
  }

  /** Whether no call was made since the last evaluation. */
  get isAtStart(): boolean {
    return this.state === 'known' && this.step === this.root;
  }

  /** Number of steps that are remembered. */
  get size(): number {
    return this.steps;
  }

  /**
   * A call of a kernel whose results depend on nothing but shapes, types, attributes and the values of its operands. `otherwise` makes the
   * call if it is of another kind: on strings or complex numbers.
   */
  call(name: string, kernel: Kernel, inputs: Inputs, attributes: Attributes, otherwise: (call: KernelCall) => Infos): Infos {
    const known = this.state === 'left' ? null : this.find(name, inputs, attributes);
    if (known !== null && this.state === 'known') return this.replay(known);
    const call = new KernelCall(name, this.backend, inputs as Record<string, TensorInfo>, attributes as Record<string, unknown>);
    if (call.kind !== 'number') return otherwise(call);
    if (this.state === 'left') return this.run(kernel, call);
    this.recall();
    const operands = known?.operands ?? this.describe(inputs);
    const infos = this.run(kernel, call);
    // Another shape of the same data needs no step.
    if (listOf(infos).some(({ dataId }) => !(dataId instanceof Entry) || dataId.refCount > 1)) return infos;
    if (known !== null) this.goOn(known, listOf(infos));
    else if (operands !== null && isPlain(attributes) && listOf(infos).every(({ dtype }) => dtype !== 'complex64'))
      this.goOn(this.learn({ name, kernel, operands, attributes: copyOf(attributes) as Attributes }, infos), listOf(infos));
    else this.leave();
    return infos;
  }

  private run(kernel: Kernel, call: KernelCall): Infos {
    this.isRunning = true;
    try {
      return deliver(this.backend, kernel(call));
    } finally {
      this.isRunning = false;
    }
  }

  /** Says that the graph now holds something that no path knows. */
  leave(): void {
    if (this.state === 'left') return;
    this.recall();
    this.state = 'left';
  }

  // --- finding a step -----------------------------------------------------------------------------------------------------------

  private find(name: string, inputs: Inputs, attributes: Attributes): Step | null {
    const { step } = this;
    if (step.next !== null && this.matches(step.next, name, inputs, attributes)) return step.next;
    const branches = step.after.get(name);
    if (branches !== undefined) {
      for (const branch of branches) {
        if (branch !== step.next && this.matches(branch, name, inputs, attributes)) return (step.next = branch);
      }
    }
    return null;
  }

  private matches(step: Step, kernel: string, inputs: Inputs, attributes: Attributes): boolean {
    if (step.name !== kernel) return false;
    if (this.met.length > 0) this.met = [];
    const { operands } = step;
    let count = 0;
    for (const name in inputs) {
      const operand = operands[count++];
      if (operand === undefined || operand.name !== name) return false;
      const info = inputs[name];
      if (info === undefined || info === null) {
        if (operand.from !== null) return false;
        continue;
      }
      const { from } = operand;
      if (from === null || from.dtype !== info.dtype || !sameShape(from.shape, info.shape)) return false;
      const index = this.indexOf(info);
      if (index !== from.index) return false;
    }
    if (count !== operands.length) return false;
    for (let i = 0; i < this.met.length; i++) if (!isLike(step.outside[i]!, this.met[i]!)) return false;
    return isEqual(step.attributes, attributes);
  }

  /** The number of an operand on this path. A value that the path has not used yet gets the next free number. */
  private indexOf(info: TensorInfo): number {
    const entry = this.backend.entry(info.dataId);
    if (entry.epoch === this.epoch) return entry.slot;
    const holder = entry.fill === null && entry.node !== null ? entry.node : entry;
    if (holder.epoch === this.epoch) return holder.slot;
    let at = this.met.indexOf(holder);
    if (at < 0) at = this.met.push(holder) - 1;
    return -1 - this.outside.length - at;
  }

  // --- going along --------------------------------------------------------------------------------------------------------------

  private replay(step: Step): Infos {
    const infos: TensorInfo[] = [];
    for (const { shape, dtype } of step.results) infos.push({ dataId: this.backend.promise(), shape, dtype });
    this.goOn(step, infos);
    return step.isList ? infos : infos[0]!;
  }

  /** Makes `step` the last one of the path. */
  private goOn(step: Step, infos: readonly TensorInfo[]): void {
    for (const holder of this.met) {
      holder.epoch = this.epoch;
      holder.slot = -1 - this.outside.length;
      this.outside.push(holder);
      if ('shared' in holder) holder.shared = true;
    }
    if (this.met.length > 0) this.met = [];
    for (const { dataId } of infos) {
      const entry = dataId as Entry;
      entry.epoch = this.epoch;
      entry.slot = this.results.push(entry) - 1;
    }
    this.step = step;
    this.backend.limit(step.nodes, this.state === 'known' ? step.bytes : 0);
  }

  private describe(inputs: Inputs): Operand[] | null {
    this.met = [];
    const operands = Object.entries(inputs).map(([name, info]): Operand => {
      if (info === undefined || info === null) return { name, from: null };
      return { name, from: { index: this.indexOf(info), shape: info.shape.slice(), dtype: info.dtype } };
    });
    return this.met.every((holder) => outsideOf(holder) !== null) ? operands : null;
  }

  private learn(call: Pick<Step, 'name' | 'kernel' | 'operands' | 'attributes'>, infos: Infos): Step {
    const step: Step = {
      ...rootStep(),
      ...call,
      parent: this.step,
      outside: this.met.map((holder) => outsideOf(holder)!),
      results: listOf(infos).map(({ shape, dtype }) => ({ shape, dtype })),
      isList: Array.isArray(infos),
      bytes: listOf(infos).reduce((sum, { dataId, shape }) => sum + (isPending((dataId as Entry).node!) ? 4 * sizeOf(shape) : 0), 0),
      nodes: this.backend.graph.size,
    };
    const branches = this.step.after.get(call.name) ?? [];
    if (branches.push(step) > MAX_BRANCHES) this.steps -= countOf(branches.shift()!);
    this.step.after.set(call.name, branches);
    this.step.next = step;
    this.steps++;
    this.recorded++;
    return step;
  }

  /** Makes the nodes of the path, by calling its kernels. */
  recall(): void {
    if (this.state !== 'known') return;
    this.state = 'open';
    const path: Step[] = [];
    for (let step = this.step; step.parent !== null; step = step.parent) path.push(step);
    const { graph } = this.backend;
    const { origin } = graph;
    this.isRecalling = true;
    try {
      let at = 0;
      for (const { name, kernel, operands, attributes } of path.reverse()) {
        const inputs = Object.fromEntries(operands.map((operand) => [operand.name, this.operandOf(operand)]));
        graph.origin = name;
        const made = kernel(
          new KernelCall(name, this.backend, inputs as Record<string, TensorInfo>, attributes as Record<string, unknown>),
        );
        for (const node of listOf(made as Node | Node[])) this.backend.fulfil(this.results[at++]!, node);
      }
    } finally {
      this.isRecalling = false;
      graph.origin = origin;
    }
  }

  private operandOf({ from }: Operand): TensorInfo | undefined {
    if (from === null) return undefined;
    const held = from.index < 0 ? this.outside[-1 - from.index]! : this.results[from.index]!;
    const dataId = held instanceof Entry ? held : holding(this.backend, held);
    return { dataId, shape: [...from.shape], dtype: from.dtype as TensorInfo['dtype'] };
  }

  // --- the end of a path --------------------------------------------------------------------------------------------------------

  /** Computes the live results of a known path. False if there is no plan for them, and then they have nodes. */
  compute(): boolean {
    if (this.state !== 'known') return false;
    const plan = this.plan();
    const values = plan?.run(this.outside, this.backend) ?? null;
    if (values === null) {
      if (plan !== undefined) this.step.plans.splice(this.step.plans.indexOf(plan), 1);
      this.recall();
      return false;
    }
    for (let i = 0; i < values.length; i++) this.backend.fulfil(this.results[plan!.live[i]!]!, values[i]!);
    this.replayed++;
    return true;
  }

  private plan(): Plan | undefined {
    for (const plan of this.step.plans) if (plan.isFor(this.results)) return plan;
    return undefined;
  }

  /** Remembers how the live results of the path were computed. Null if this took several runs, or failed. */
  remember(evaluation: Evaluation | null): void {
    if (this.state !== 'open' || evaluation === null) return;
    const plan = Plan.of(this.backend.graph, evaluation, this.results, this.outside);
    if (plan === null) return;
    if (this.step.plans.push(plan) > MAX_PLANS) this.step.plans.shift();
  }

  /** Begins a new path, at the root. */
  restart(): void {
    if (this.steps > MAX_STEPS) this.forget();
    this.step = this.root;
    this.state = 'known';
    this.epoch++;
    if (this.results.length > 0) this.results = [];
    if (this.outside.length > 0) this.outside = [];
  }

  /** Forgets all paths and their plans. */
  forget(): void {
    this.root = rootStep();
    this.steps = 0;
  }
}
