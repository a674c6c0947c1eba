import { toTensor, type Tensor } from '@atelier/tensor';
import type { GoldenFile } from '@atelier/testkit';

export type Settings = ReturnType<GoldenFile['settings']>;

/** Names of the cases in a file: the part before `.suffix` in its keys. */
export function casesWith(file: GoldenFile, suffix: string): string[] {
  return file.keys().flatMap((key) => (key.endsWith(`.${suffix}`) ? [key.slice(0, -suffix.length - 1)] : []));
}

/** A number from the settings, or `fallback` (the official default) if the file does not give it. */
export function number(settings: Settings, key: string, fallback?: number): number {
  const value = settings[key] ?? fallback;
  if (typeof value !== 'number') throw new Error(`settings: ${key}: wanted a number, got ${String(value)}`);
  return value;
}

export function text(settings: Settings, key: string): string {
  const value = settings[key];
  if (typeof value !== 'string') throw new Error(`settings: ${key}: wanted a word, got ${String(value)}`);
  return value;
}

/** All tensors below a prefix, by the rest of their key. */
export function tensorsOf(file: GoldenFile, prefix = ''): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(file.tensors(prefix)).map(([key, host]) => [key, toTensor(host)]));
}
