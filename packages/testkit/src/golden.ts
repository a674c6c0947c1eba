import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { parseSafetensors, toTensor, type HostTensor, type Tensor } from '@atelier/tensor';
import { parseSetting, parseSettings, type Setting } from './settings.ts';

const EXTENSION = '.safetensors';

/**
 * Reference numbers of one paper: files computed by its official implementation, with the settings in their metadata.
 *
 * If the environment variable ATELIER_GOLDEN=<dir> is set, they come only from `<dir>/<slug>`. Otherwise they are searched in this order: `golden/<slug>` or
 * `golden` of the package whose tests run (the working directory); other packages that have files for that slug (each file is in the repository only
 * once); and `../shared/golden/<slug>` beside the checkout, if it exists.
 * @throws Error if there is no such folder or no file in it, so that no test passes without cases.
 */
export function golden(slug: string): Golden {
  return new Golden(slug);
}

export class Golden {
  readonly slug: string;
  /** The folder that is searched first. */
  readonly dir: string;
  readonly #paths: ReadonlyMap<string, string>;

  constructor(slug: string) {
    if (!/^[a-z0-9][a-z0-9._-]*$/i.test(slug)) throw new Error(`golden: wanted the name of a folder, got '${slug}'`);
    const candidates = folders(slug);
    const existing = candidates.filter((folder) => existsSync(folder));
    const paths = new Map<string, string>();
    for (const folder of existing) {
      for (const file of readdirSync(folder)) {
        const name = file.slice(0, -EXTENSION.length);
        if (file.endsWith(EXTENSION) && !paths.has(name)) paths.set(name, join(folder, file));
      }
    }
    if (paths.size === 0) throw new Error(`golden: wanted ${EXTENSION} files for '${slug}' in ${candidates.join(' or ')}, got none`);
    this.slug = slug;
    this.dir = existing[0]!;
    this.#paths = new Map([...paths].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** Names without extension that begin with `prefix`, sorted. @throws Error if there is none. */
  files(prefix = ''): string[] {
    const names = [...this.#paths.keys()].filter((name) => name.startsWith(prefix));
    if (names.length === 0)
      throw new Error(`golden '${this.slug}': wanted files that begin with '${prefix}', got none among ${list(this.#paths.keys())}`);
    return names;
  }

  has(name: string): boolean {
    return this.#paths.has(name);
  }

  /** Reads and checks one file. @throws Error if it is absent or damaged. */
  load(name: string): GoldenFile {
    const path = this.#paths.get(name);
    if (path === undefined) throw new Error(`golden '${this.slug}': wanted file '${name}', got only ${list(this.#paths.keys())}`);
    return new GoldenFile(name, path);
  }
}

/** One file: host tensors by key, and texts. */
export class GoldenFile {
  readonly name: string;
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly #tensors: Readonly<Record<string, HostTensor>>;

  constructor(name: string, path: string) {
    const { tensors, metadata } = parseSafetensors(readFileSync(path), path);
    this.name = name;
    this.path = path;
    this.metadata = metadata;
    this.#tensors = tensors;
  }

  /** A metadata text like `a=1;b=cfg;c=[2, 2]` as a record. @throws Error if it is absent or not of that form. */
  settings(key: string): Record<string, Setting> {
    return parseSettings(this.#text(key), `golden ${this.name}: metadata '${key}'`);
  }

  /** A metadata text like `10`, `True` or `[2, 2]` as a value. @throws Error if it is absent. */
  setting(key: string): Setting {
    return parseSetting(this.#text(key));
  }

  /** Keys of tensors that begin with `prefix`, in the order of the file. @throws Error if there is none; ask `hasAny` where that is fine. */
  keys(prefix = ''): string[] {
    const keys = Object.keys(this.#tensors).filter((key) => key.startsWith(prefix));
    if (keys.length === 0)
      throw new Error(
        `golden ${this.name}: wanted tensors that begin with '${prefix}', got none among ${list(Object.keys(this.#tensors))}`,
      );
    return keys;
  }

  has(key: string): boolean {
    return Object.hasOwn(this.#tensors, key);
  }

  hasAny(prefix: string): boolean {
    return Object.keys(this.#tensors).some((key) => key.startsWith(prefix));
  }

  /** @throws Error if there is no such tensor. */
  host(key: string): HostTensor {
    if (!this.has(key)) throw new Error(`golden ${this.name}: wanted tensor '${key}', got only ${list(Object.keys(this.#tensors))}`);
    return this.#tensors[key]!;
  }

  /** A new tensor, which the caller disposes. @throws Error if there is no such tensor. */
  tensor(key: string): Tensor {
    return toTensor(this.host(key));
  }

  /** All tensors whose key begins with `prefix`, without it. @throws Error if there is none. */
  tensors(prefix = ''): Record<string, HostTensor> {
    return Object.fromEntries(this.keys(prefix).map((key) => [key.slice(prefix.length), this.#tensors[key]!]));
  }

  #text(key: string): string {
    if (!Object.hasOwn(this.metadata, key))
      throw new Error(`golden ${this.name}: wanted metadata '${key}', got only ${list(Object.keys(this.metadata))}`);
    return this.metadata[key]!;
  }
}

function folders(slug: string): string[] {
  const chosen = process.env['ATELIER_GOLDEN'];
  if (chosen) return [resolve(chosen, slug)];
  const own = resolve('golden', slug);
  const local = existsSync(own) ? own : resolve('golden');
  const checkout = workspaceRoot(process.cwd());
  if (checkout === undefined) return [local];
  const others = readdirSync(join(checkout, 'packages')).map((name) => join(checkout, 'packages', name, 'golden'));
  const holders = others
    .map((folder) => (basename(dirname(folder)) === slug ? folder : join(folder, slug)))
    .filter((folder) => folder !== local);
  return [local, ...holders.filter((folder) => existsSync(folder)), resolve(checkout, '..', 'shared', 'golden', slug)];
}

/** The folder of the workspace that `from` lies in. */
function workspaceRoot(from: string): string | undefined {
  if (existsSync(join(from, 'pnpm-workspace.yaml'))) return from;
  return dirname(from) === from ? undefined : workspaceRoot(dirname(from));
}

function list(names: Iterable<string>): string {
  const all = [...names];
  const shown = all.slice(0, 12).map((name) => `'${name}'`);
  return all.length === 0 ? 'nothing' : `${shown.join(', ')}${all.length > shown.length ? ` and ${all.length - shown.length} more` : ''}`;
}
