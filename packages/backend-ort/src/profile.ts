import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSession, type HostValue, type RuntimeOptions } from './runtime.ts';

/** The time of one type of operator in a run of a graph, measured by ONNX Runtime's profiler. */
export interface OperatorTime {
  op: string;
  /** Mean milliseconds per run. */
  ms: number;
  /** Number of nodes of this type, after ONNX Runtime has rewritten the graph. */
  nodes: number;
  /** This time divided by the time of all operators. */
  share: number;
}

interface ProfileEvent {
  cat: string;
  name: string;
  dur: number;
  args?: { op_name?: string };
}

/** Runs a model a few times in a separate session with the profiler switched on. The type that takes longest comes first. */
export function profileModel(
  model: Uint8Array,
  options: RuntimeOptions,
  feeds: Record<string, HostValue>,
  fetches: Record<string, HostValue>,
  runs = 5,
): OperatorTime[] {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-profile-'));
  try {
    const session = createSession(model, { ...options, optimize: 'all', keepMemory: true, idle: 'spin', profile: join(folder, 'run') });
    for (let i = 0; i < runs; i++) session.run(feeds, fetches);
    session.dispose();
    const file = readdirSync(folder).find((name) => name.endsWith('.json'));
    if (file === undefined) throw new Error(`profile: ONNX Runtime wrote no profile into ${folder}`);
    const events = JSON.parse(readFileSync(join(folder, file), 'utf8')) as ProfileEvent[];
    const byOp = new Map<string, { us: number; calls: number }>();
    for (const { cat, name, dur, args } of events) {
      if (cat !== 'Node' || !name.endsWith('_kernel_time') || args?.op_name === undefined) continue;
      const entry = byOp.get(args.op_name) ?? { us: 0, calls: 0 };
      byOp.set(args.op_name, { us: entry.us + dur, calls: entry.calls + 1 });
    }
    return shared([...byOp].map(([op, { us, calls }]) => ({ op, ms: us / 1000 / runs, nodes: Math.round(calls / runs) })));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A profile with one more row. */
export const withRow = (rows: readonly OperatorTime[], row: Omit<OperatorTime, 'share'>): OperatorTime[] => shared([...rows, row]);

function shared(rows: readonly Omit<OperatorTime, 'share'>[]): OperatorTime[] {
  const total = rows.reduce((sum, { ms }) => sum + ms, 0);
  return rows.map((row) => ({ ...row, share: row.ms / total })).sort((a, b) => b.ms - a.ms);
}
