import {
  encodeSafetensors,
  flattenTree,
  parseConfig,
  parseSafetensors,
  tf,
  toHost,
  toTensor,
  type HostTensor,
  type Tensor,
  type Tree,
} from '@atelier/tensor';
import type { LayerCache } from './attend.ts';
import { magiConfig, type MagiSettings } from './config.ts';
import type { MagiParams } from './model.ts';
import { checkVideo, type VideoOptions } from './video-options.ts';
import type { StreamState } from './transport.ts';

/** What a session belongs to. */
export type Session = { params: MagiParams; settings: MagiSettings; options: VideoOptions };

const FORMAT = 'atelier magi1 session 1';

/** A state as the bytes of a safetensors file, with a checksum and the fingerprint of model and video. The state lives on. */
export async function encodeSession(state: StreamState, session: Session): Promise<Uint8Array> {
  const tensors: Record<string, HostTensor> = {};
  const put = async (name: string, tensor: Tensor): Promise<void> => void (tensors[name] = await toHost(tensor));
  for (const { chunk, z, prompt } of state.active) {
    await put(`active.${chunk}.z`, z);
    if (prompt) {
      await put(`active.${chunk}.features`, prompt.features);
      await put(`active.${chunk}.mask`, prompt.mask);
    }
  }
  if (state.finished) await put(`finished.${state.finished.chunk}.z`, state.finished.z);
  for (const { chunk, layers } of state.cache)
    for (const side of ['keys', 'values'] as const)
      for (const [layer, tensor] of layers[side].entries()) await put(`cache.${chunk}.${side}.${layer}`, tensor);
  const metadata = { format: FORMAT, forward: String(state.forward), model: await modelOf(session), video: videoOf(session) };
  return encodeSafetensors(tensors, { ...metadata, checksum: checksum(tensors, metadata) });
}

/**
 * The state of a saved session. The caller owns its tensors.
 *
 * @throws Error with the reason if the bytes are damaged, or belong to another model or another video
 */
export async function decodeSession(bytes: Uint8Array, session: Session): Promise<StreamState> {
  const where = 'decodeSession';
  const { tensors, metadata } = parseSafetensors(bytes, where);
  const { checksum: stated, ...rest } = metadata;
  if (metadata['format'] !== FORMAT) throw new Error(`${where}: wanted '${FORMAT}', got '${metadata['format'] ?? 'another file'}'`);
  const found = checksum(tensors, rest as { forward: string });
  if (stated !== found) throw new Error(`${where}: wanted a session with checksum ${stated}, got ${found}: the file is damaged`);
  const model = await modelOf(session);
  if (metadata['model'] !== model)
    throw new Error(`${where}: wanted a session of this model (${model}), got one of another (${metadata['model']})`);
  const video = videoOf(session);
  if (metadata['video'] !== video) throw new Error(`${where}: wanted a session of the video ${video}, got one of ${metadata['video']}`);
  return tf.tidy(() => stateOf(tensors, Number(metadata['forward'])));
}

function stateOf(tensors: Readonly<Record<string, HostTensor>>, forward: number): StreamState {
  const state: StreamState = { forward, active: [], cache: [] };
  const chunks = (kind: string): number[] => {
    const all = Object.keys(tensors).flatMap((name) => (name.startsWith(`${kind}.`) ? [Number(name.split('.')[1])] : []));
    return [...new Set(all)].sort((a, b) => a - b);
  };
  const get = (name: string): Tensor => toTensor(tensors[name]!);
  for (const chunk of chunks('active')) {
    const hasPrompt = Object.hasOwn(tensors, `active.${chunk}.features`);
    const prompt = hasPrompt && { features: get(`active.${chunk}.features`), mask: get(`active.${chunk}.mask`) };
    state.active.push({ chunk, z: get(`active.${chunk}.z`), ...(prompt && { prompt }) });
  }
  for (const chunk of chunks('finished')) state.finished = { chunk, z: get(`finished.${chunk}.z`) };
  for (const chunk of chunks('cache')) {
    const layers: LayerCache = { keys: [], values: [] };
    for (const side of ['keys', 'values'] as const)
      for (let layer = 0; Object.hasOwn(tensors, `cache.${chunk}.${side}.${layer}`); layer++)
        layers[side].push(get(`cache.${chunk}.${side}.${layer}`));
    state.cache.push({ chunk, layers });
  }
  return state;
}

/**
 * Hashes of weights, so that a tree is read once and not at every save. This is safe because a tree of weights is never changed; new weights are a
 * new tree.
 */
const hashes = new WeakMap<object, Promise<string>>();

/** A fingerprint of settings, whether defaults are written or not, and of weights. */
async function modelOf({ params, settings }: Session): Promise<string> {
  let weights = hashes.get(params);
  if (weights === undefined) {
    weights = hashWeights(params);
    hashes.set(params, weights);
    // Weights that cannot be read have no hash; the next call tries again.
    weights.catch(() => hashes.delete(params));
  }
  const hash = new Hash();
  hash.text(JSON.stringify(parseConfig(magiConfig, settings, 'session: settings')));
  hash.text(await weights);
  return hash.digest();
}

async function hashWeights(params: MagiParams): Promise<string> {
  const hash = new Hash();
  for (const [name, leaf] of Object.entries(flattenTree(params as unknown as Tree))) {
    hash.text(name);
    hash.bytes((await toHost(leaf)).data);
  }
  return hash.digest();
}

/**
 * A fingerprint of everything that decides how a video goes on, except prompts, noise and given frames. Defaults are filled in, so equal options have
 * equal fingerprints.
 */
function videoOf({ options }: Session): string {
  const hash = new Hash();
  const { plan, kind, guidance, pin, fillWindow, aloneWeight } = checkVideo(options);
  hash.text(JSON.stringify([plan, kind, guidance, pin, fillWindow, aloneWeight]));
  return hash.digest();
}

function checksum(tensors: Readonly<Record<string, HostTensor>>, metadata: Readonly<Record<string, string>>): string {
  const hash = new Hash();
  hash.text(JSON.stringify(Object.entries(metadata).sort())); // prettier-ignore
  for (const name of Object.keys(tensors).sort()) {
    hash.text(`${name} ${tensors[name]!.shape.join()}`);
    hash.bytes(tensors[name]!.data);
  }
  return hash.digest();
}

/** Two 32-bit hashes like FNV-1a with different starts: 64 bits that detect accidents, but no attacks. It needs no library, so it also runs in a browser. */
class Hash {
  #a = 0x811c9dc5;
  #b = 0x9747b28c;

  text(text: string): void {
    this.bytes(new TextEncoder().encode(text));
  }

  bytes(data: ArrayBufferView): void {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    for (let i = 0; i < bytes.length; i++) {
      this.#a = Math.imul(this.#a ^ bytes[i]!, 0x01000193);
      this.#b = Math.imul(this.#b ^ bytes[i]!, 0x01000193) + i;
    }
  }

  digest(): string {
    return [this.#a, this.#b].map((part) => (part >>> 0).toString(16).padStart(8, '0')).join('');
  }
}
