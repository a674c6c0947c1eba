import { createHash } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseJson, shown, toHostTree, toTensor, treeMap, type HostTensor, type Tree } from '@atelier/tensor';
import { readSafetensors, writeSafetensors } from '@atelier/tensor/node';
import { diskError, onDisk, onText, sentence, StopError } from './errors.ts';
import type { Checkpoint, Checkpoints, Json } from './experiment.ts';

const FORMAT = 'atelier-checkpoint-1';

/** What helps if a checkpoint is damaged. */
const REMEDY = (path: string): string => `remove ${path} and resume: this stage then begins again, with the same result`;

/** The checkpoints of one run folder. `beforeSave` runs just before a file appears: what it leaves on the disk is never older than the checkpoint. */
export class CheckpointFolder implements Checkpoints {
  readonly #folder: string;
  readonly #beforeSave: () => void;

  constructor(folder: string, beforeSave: () => void = () => {}) {
    this.#folder = folder;
    this.#beforeSave = beforeSave;
    onDisk(folder, () => mkdirSync(folder, { recursive: true }));
  }

  path(name: string): string {
    if (!/^[\w-]+(\.[\w-]+)*$/.test(name))
      throw new StopError(`checkpoint: wanted a name of letters, digits, '-', '_' and '.', got '${name}'`);
    return join(this.#folder, `${name}.safetensors`);
  }

  async save(name: string, trees: Readonly<Record<string, Tree>>, state: Json): Promise<void> {
    const path = this.path(name);
    const tensors: Record<string, HostTensor> = {};
    for (const [tree, value] of Object.entries(trees)) {
      for (const [leaf, host] of Object.entries(await toHostTree(value))) tensors[leaf === '' ? tree : `${tree}.${leaf}`] = host;
    }
    for (const [leaf, host] of Object.entries(tensors)) checkFinite(name, leaf, host);
    const text = plainJson(name, state);
    this.#beforeSave();
    try {
      await writeSafetensors(path, tensors, { format: FORMAT, name, state: text, sha256: checksum(name, tensors, text) });
    } catch (error) {
      throw diskError(path, error);
    }
  }

  async load(name: string): Promise<Checkpoint | null> {
    const path = this.path(name);
    if (!existsSync(path)) return null;
    let file: Awaited<ReturnType<typeof readSafetensors>>;
    try {
      file = await readSafetensors(path);
    } catch (error) {
      const told = diskError(path, error);
      throw told instanceof StopError ? told : new StopError(`${sentence(error)}; ${REMEDY(path)}`, { cause: error });
    }
    const { tensors, metadata } = file;
    if (metadata['format'] !== FORMAT)
      throw new StopError(`${path}: wanted a checkpoint of format '${FORMAT}', got ${shown(metadata['format'] ?? 'none')}`);
    const text = metadata['state'] ?? '';
    const actual = checksum(metadata['name'] ?? '', tensors, text);
    if (metadata['sha256'] !== actual)
      throw new StopError(`${path}: the file is damaged: wanted checksum ${shown(metadata['sha256'])}, got ${actual}; ${REMEDY(path)}`);
    if (metadata['name'] !== name) throw new StopError(`${path}: wanted a checkpoint of '${name}', got one of ${shown(metadata['name'])}`);
    return { state: onText(() => parseJson(text, path)) as Json, tensors, tree: (tree, like) => restore(path, tensors, tree, like) };
  }
}

function restore<T extends Tree>(path: string, tensors: Readonly<Record<string, HostTensor>>, tree: string, like: T): T {
  const unused = new Set(Object.keys(tensors).filter((name) => name === tree || name.startsWith(`${tree}.`)));
  const found = new Map<string, HostTensor>();
  treeMap((leaf, at) => {
    const name = at === '' ? tree : `${tree}.${at}`;
    const host = tensors[name];
    if (host === undefined) throw new StopError(`${path}: wanted a tensor '${name}', got none`);
    if (host.dtype !== leaf.dtype || host.shape.join() !== leaf.shape.join()) {
      throw new StopError(
        `${path}: '${name}': wanted ${leaf.dtype} [${leaf.shape.join(', ')}], got ${host.dtype} [${host.shape.join(', ')}]`,
      );
    }
    unused.delete(name);
    found.set(at, host);
    return leaf;
  }, like);
  const [stranger] = unused;
  if (stranger !== undefined) throw new StopError(`${path}: holds ${shown(stranger)}, which has no place in this model`);
  return treeMap((_, at) => toTensor(found.get(at)!), like);
}

function checkFinite(name: string, leaf: string, host: HostTensor): void {
  if (host.dtype !== 'float32') return;
  const at = (host.data as Float32Array).findIndex((value) => !Number.isFinite(value));
  if (at >= 0) throw new StopError(`checkpoint '${name}': '${leaf}' holds ${host.data[at]} at position ${at}, so it was not saved`);
}

/** @throws StopError if the value would change when it is written as JSON and read again. */
function plainJson(name: string, value: Json): string {
  const check = (part: unknown, path: string): void => {
    const where = `checkpoint '${name}': state${path}`;
    if (typeof part === 'number' && !Number.isFinite(part)) throw new StopError(`${where}: wanted a finite number, got ${part}`);
    if (part === undefined || typeof part === 'function' || typeof part === 'bigint')
      throw new StopError(`${where}: wanted plain JSON, got ${typeof part}`);
    if (part === null || typeof part !== 'object') return;
    const prototype: unknown = Object.getPrototypeOf(part);
    if (!Array.isArray(part) && prototype !== Object.prototype && prototype !== null) {
      throw new StopError(`${where}: wanted plain JSON, got a ${part.constructor.name}`);
    }
    for (const [key, inner] of Object.entries(part)) check(inner, `${path}.${key}`);
  };
  check(value, '');
  return JSON.stringify(value);
}

function checksum(name: string, tensors: Readonly<Record<string, HostTensor>>, state: string): string {
  return tensorsHash(tensors, `${name}\n${state}`);
}

/** SHA-256 over some text and all tensors in the order of their names, 64 hexadecimal digits. */
export function tensorsHash(tensors: Readonly<Record<string, HostTensor>>, text = ''): string {
  const hash = createHash('sha256').update(text);
  for (const path of Object.keys(tensors).sort()) {
    const { dtype, shape, data } = tensors[path]!;
    hash.update(`\n${path} ${dtype} [${shape.join()}]\n`);
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex');
}
