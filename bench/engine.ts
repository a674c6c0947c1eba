/**
 * `pnpm bench engine`: compares the engine with PyTorch's fastest mode and with TensorFlow.js's own engines, on tiny to medium models. All
 * start from the same weights and take turns. It also reports the peak memory, and the speed of each task as a share of the speed of a
 * 1024³ matrix product. Our time is that of the whole compiled call.
 */
import { fileURLToPath } from 'node:url';
import { bundled } from '@atelier/experiments/bundle';
import { useEngine } from '@atelier/tensor';
import { benchArguments, runBench, type BenchArguments } from './harness/arguments.ts';
import { contest, inProcess, ratioOf, type Times } from './harness/contest.ts';
import { machineDescription } from './harness/machine.ts';
import { Peer } from './harness/peer.ts';
import { ms, report, speedRow, type ReportRow } from './harness/report.ts';
import { startTorch, type TorchPeer } from './harness/torch.ts';
import { checkAgreement, preparePeer, type Mode } from './harness/work.ts';
import { engineWorks, product, type EngineWork, type EngineWorkName } from './workloads/engine.ts';

type Goal = {
  /** Wanted speed-up over PyTorch's fastest mode; 0 if there is no bound. */
  bound: number;
  /** Wanted share of the speed of the matrix product; 0 if there is no bound. */
  share?: number;
  /** A bound for each mode of PyTorch, in place of the one for its fastest mode. */
  modes?: Record<Mode, number>;
  /** The engines of TensorFlow.js that finish this task in reasonable time. */
  tfjs?: readonly TfjsEngine[];
};
type TfjsEngine = 'cpu' | 'wasm' | 'tensorflow';

const GOALS: Record<EngineWorkName, Goal> = {
  'matmul-1024': { bound: 0 },
  'step-32x64x192x3x6': { bound: 1.5, share: 0.7, tfjs: ['wasm', 'tensorflow'] },
  'step-16x256x256x4x4': { bound: 1.6, share: 0.7, tfjs: ['tensorflow'] },
  'step-8x16x32x2x2': { bound: 0, modes: { eager: 2, compile: 0 }, tfjs: ['cpu', 'wasm', 'tensorflow'] },
  'step-mlp-512': { bound: 1.6, tfjs: ['cpu', 'wasm', 'tensorflow'] },
  'forward-32x64x192x3x6': { bound: 1.6, tfjs: ['wasm', 'tensorflow'] },
  'forward-16x256x256x4x4': { bound: 1.6, tfjs: ['tensorflow'] },
  'jvp-32x64x192x3x6': { bound: 2 },
  'attention-4x4096x64': { bound: 1.6 },
  'attention-64x256x64': { bound: 1.3, tfjs: ['wasm', 'tensorflow'] },
  'attention-grad-4x4096x64': { bound: 1.4 },
  'attention-grad-64x256x64': { bound: 1.4 },
};
const MEMORY_ROW = 'memory-32x64x192x3x6';
const MEMORY_WORK = 'step-32x64x192x3x6';
const MEMORY_STEPS = 20;

/** TensorFlow.js's engines take seconds per step, so they run only a few times. */
const FEW_TURNS = { rounds: 3, turnMs: 50, warmUpMs: 1 };
/** The engines of TensorFlow.js add hundreds of thousands of squares one after the other in float32, so their results differ more. */
const TFJS_AGREEMENT = 1e-3;

const startEngine = async (engine: string): Promise<Peer> => {
  // A bundle, as a program would ship it: the loader of TypeScript would add its own memory.
  const script = await bundled(fileURLToPath(new URL('./peers/atelier.ts', import.meta.url)));
  const { peer } = await Peer.start(`tfjs ${engine}`, process.execPath, [script, engine]);
  return peer;
};

/** Compares Atelier with PyTorch and with the matrix product, in the same rounds. */
async function speed(name: EngineWorkName, work: EngineWork, torch: TorchPeer | undefined, args: BenchArguments): Promise<ReportRow[]> {
  const { bound, modes, share = 0 } = GOALS[name];
  const contests: { modes: readonly Mode[]; bound: number; label: string }[] =
    modes === undefined
      ? [{ modes: args.prepare.modes, bound, label: '' }]
      : args.prepare.modes.map((mode) => ({ modes: [mode], bound: modes[mode], label: ` ${mode}` }));
  const rows: ReportRow[] = [];
  const matmul = product(1024);
  const sides = [inProcess('atelier', work.step), ...(name === 'matmul-1024' ? [] : [inProcess('matmul-1024', matmul.step)])];
  let timed: Times[] = [];
  for (const { modes: allowed, bound: wanted, label } of contests) {
    if (torch === undefined) {
      timed = await contest(sides, args.contest);
      console.log(`  ours: ${ms(timed[0]!.median)}`);
      break;
    }
    const prepared = await preparePeer(torch, name, work, { ...args.prepare, modes: allowed });
    timed = await contest([...sides, torch.peer.contestant(`${torch.name}${label}`)], args.contest);
    rows.push(speedRow(name, { ours: timed[0]!, theirs: timed.at(-1)! }, wanted, prepared.chosen));
  }
  const [ours, reference] = timed;
  if (name === 'matmul-1024') console.log(`  ours: ${gigaflops(work.flops, ours!.median)}`);
  else rows.push(shareRow(name, { work, ours: ours! }, { matmul, reference: reference! }, share));
  return rows;
}

function shareRow(
  name: string,
  { work, ours }: { work: EngineWork; ours: Times },
  { matmul, reference }: { matmul: EngineWork; reference: Times },
  bound: number,
): ReportRow {
  const operations = work.flops / matmul.flops;
  const { ratio, low, high } = ratioOf(ours, reference);
  return {
    name: `${name}, share of the matmul rate`,
    peer: reference.name,
    ...{ ratio: ratio * operations, low: low * operations, high: high * operations },
    bound,
    ours: gigaflops(work.flops, ours.median),
    theirs: gigaflops(matmul.flops, reference.median),
  };
}

/**
 * Compares Atelier with TensorFlow.js's engines, each in a separate process. If an engine is missing or has no gradient for the task, this
 * is printed, and it is left out.
 */
async function againstTfjs(name: EngineWorkName, work: EngineWork): Promise<ReportRow[]> {
  const rows: ReportRow[] = [];
  for (const engine of GOALS[name].tfjs ?? []) {
    let peer: Peer | undefined;
    try {
      peer = await startEngine(engine);
      const { check } = (await peer.ask('prepare', JSON.stringify(name))) as { check: number[] };
      checkAgreement(`${name}: tfjs ${engine}`, check, await work.check(), TFJS_AGREEMENT);
      const [ours, theirs] = await contest([inProcess('atelier', work.step), peer.contestant()], FEW_TURNS);
      rows.push(speedRow(name, { ours: ours!, theirs: theirs! }, 1));
    } catch (error) {
      console.log(`  tfjs ${engine}: left out, ${(error as Error).message}`);
    } finally {
      await peer?.stop();
    }
  }
  return rows;
}

/** Peak resident memory of a new process that trains. The ratio is PyTorch's memory divided by ours. */
async function memory(work: EngineWork): Promise<ReportRow | undefined> {
  const ours = await startEngine('ort');
  let torch: TorchPeer | undefined;
  try {
    await ours.ask('prepare', JSON.stringify(MEMORY_WORK));
    await ours.ask('measure', MEMORY_STEPS);
    const own = (await ours.ask('memory')) as number;
    torch = await startTorch('engine.py');
    if (torch === undefined) {
      console.log(`  ours: ${own.toFixed(0)} MiB`);
      return undefined;
    }
    // Without a compiler and with only one variant, PyTorch needs the least memory.
    const { chosen } = await preparePeer(torch, MEMORY_ROW, work, { modes: ['eager'], seconds: 1, first_variant: true });
    await torch.peer.ask('measure', MEMORY_STEPS);
    const theirs = (await torch.peer.ask('memory')) as number;
    const [a, b] = [own, theirs].map((mebibytes) => `${mebibytes.toFixed(0)} MiB`);
    return { name: MEMORY_ROW, peer: torch.name, ratio: theirs / own, bound: 1, ours: a!, theirs: b!, note: chosen };
  } finally {
    await ours.stop();
    await torch?.peer.stop();
  }
}

const gigaflops = (flops: number, time: number): string => `${(flops / time / 1e6).toFixed(0)} GFLOP/s`;

await runBench(async () => {
  const names = Object.keys(engineWorks) as EngineWorkName[];
  const args = benchArguments(process.argv.slice(2), [...names, MEMORY_ROW], 'engine');
  console.log(machineDescription());
  await useEngine('ort');
  const torch = args.only === MEMORY_ROW ? undefined : await startTorch('engine.py');
  const rows: ReportRow[] = [];
  try {
    for (const name of names) {
      if (args.only !== undefined && args.only !== name) continue;
      console.log(`\n${name}`);
      const work = engineWorks[name]();
      rows.push(...(await speed(name, work, torch, args)));
      if (args.tfjs) rows.push(...(await againstTfjs(name, work)));
    }
  } finally {
    await torch?.peer.stop();
  }
  if (args.only === undefined || args.only === MEMORY_ROW) {
    console.log(`\n${MEMORY_ROW}`);
    const row = await memory(engineWorks[MEMORY_WORK]());
    if (row !== undefined) rows.push(row);
  }
  report(rows, args.json);
});
