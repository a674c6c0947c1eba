import { z } from 'zod';

/** The settings of every experiment that consists of parts: they are run in the order of `names`, and `parts` says which of them. */
export const runKeys = <Name extends string>(names: readonly Name[], parts: readonly Name[] = names) => ({
  seed: z.int().min(0).default(0),
  parts: z
    .array(z.enum(names))
    .min(1)
    .refine((chosen) => new Set(chosen).size === chosen.length, 'wanted each part once')
    .default([...parts]),
  /** Seconds between two checkpoints of a network in training; 0 writes one after every step. */
  checkpointSeconds: z.number().min(0).default(30),
});
