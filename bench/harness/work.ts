import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { HostTensor } from '@atelier/tensor';
import { writeSafetensors } from '@atelier/tensor/node';
import { ms } from './report.ts';
import type { TorchPeer } from './torch.ts';

/** Something to time, in a form that a peer can build too. */
export type Work = {
  /** Does it once, reading what a user would read. */
  step: () => void | Promise<void>;
  /** A few figures that depend on all of it, from the starting weights and on fixed inputs: whoever does the same work gets the same ones. */
  check: () => Promise<number[]>;
  /** Weights and inputs, by name. */
  tensors: () => Promise<Record<string, HostTensor>>;
  /** What else a peer has to know. */
  peerConfig: object;
};

export type Mode = 'eager' | 'compile';
export type PrepareOptions = {
  /** How the peer may run it. */
  modes: readonly Mode[];
  /** How long it compares its variants, in s. */
  seconds: number;
  /** Whether it takes its first variant and compares none. */
  first_variant?: boolean;
};
/** Median ms of every variant that ran, the one that will be measured, and the figures of the check of each. */
export type Prepared = { variants: Record<string, number>; chosen: string; checks: Record<string, number[]> };

/** Relative difference that float32 sums in another order explain. */
const AGREEMENT = 1e-4;

/**
 * Has the peer build a work and settle on its fastest variant, and holds the figures of every variant against ours.
 * @throws Error if a variant computes something else, or none runs
 */
export async function preparePeer(torch: TorchPeer, name: string, work: Work, options: PrepareOptions): Promise<Prepared> {
  const folder = await mkdtemp(join(tmpdir(), 'atelier-bench-'));
  let prepared: Prepared;
  try {
    const file = join(folder, 'work.safetensors');
    await writeSafetensors(file, await work.tensors());
    prepared = (await torch.peer.ask('prepare', { ...work.peerConfig, ...options, file })) as Prepared;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const ours = await work.check();
  for (const [variant, theirs] of Object.entries(prepared.checks)) checkAgreement(`${name}: ${torch.name} (${variant})`, theirs, ours);
  const figures = ours.map((value) => value.toPrecision(6)).join(', ');
  console.log(`  same results as ${Object.keys(prepared.checks).length} variants in ${torch.name}: ${figures}`);
  for (const [variant, time] of Object.entries(prepared.variants)) console.log(`  ${ms(time).padStart(9)}  ${variant}`);
  return prepared;
}

/** @throws Error unless the figures of a peer are ours, but for a relative difference */
export function checkAgreement(where: string, theirs: readonly number[], ours: readonly number[], tolerance = AGREEMENT): void {
  const close = (a: number, b: number): boolean => Math.abs(a - b) <= tolerance * Math.abs(b);
  if (theirs.length !== ours.length || !theirs.every((value, i) => close(value, ours[i]!)))
    throw new Error(`${where}: wanted the figures ${ours.join(', ')}, got ${theirs.join(', ')}`);
}
