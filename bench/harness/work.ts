import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { HostTensor } from '@atelier/tensor';
import { writeSafetensors } from '@atelier/tensor/node';
import { ms } from './report.ts';
import type { TorchPeer } from './torch.ts';

/** A task to time, in a form that a peer can build too. */
export type Work = {
  /** Runs the task once, and reads the results that a user would read. */
  step: () => void | Promise<void>;
  /**
   * Some numbers that depend on the whole task, from the starting weights and fixed inputs. Every implementation of the task must get the
   * same numbers.
   */
  check: () => Promise<number[]>;
  /** Weights and inputs, by name. */
  tensors: () => Promise<Record<string, HostTensor>>;
  /** Other settings that a peer needs. */
  peerConfig: object;
};

export type Mode = 'eager' | 'compile';
export type PrepareOptions = {
  /** The modes that the peer may try. */
  modes: readonly Mode[];
  /** How long the peer compares its variants, in seconds. */
  seconds: number;
  /** If true, the peer uses its first variant and compares none. */
  first_variant?: boolean;
};
/** The median time of each variant in ms, the chosen variant, and the check numbers of each variant. */
export type Prepared = { variants: Record<string, number>; chosen: string; checks: Record<string, number[]> };

/** Largest relative difference that another order of float32 sums can explain. */
const AGREEMENT = 1e-4;

/**
 * Lets the peer build a task and choose its fastest variant. Compares the check numbers of every variant with ours.
 * @throws Error if a variant computes something else, or if none runs
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

/** @throws Error unless the numbers of a peer equal ours, within a relative difference */
export function checkAgreement(where: string, theirs: readonly number[], ours: readonly number[], tolerance = AGREEMENT): void {
  const close = (a: number, b: number): boolean => Math.abs(a - b) <= tolerance * Math.abs(b);
  if (theirs.length !== ours.length || !theirs.every((value, i) => close(value, ours[i]!)))
    throw new Error(`${where}: wanted the figures ${ours.join(', ')}, got ${theirs.join(', ')}`);
}
