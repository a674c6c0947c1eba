import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Peer } from './peer.ts';

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', 'peers');

/** The version of PyTorch for which the bounds were chosen. */
const MEANT = '2.13';

/** A PyTorch peer, and its name with the version. */
export type TorchPeer = { peer: Peer; name: string; threads: number };

/**
 * Starts a script of `peers/` with the Python interpreter in ATELIER_TORCH_PYTHON. If the variable is not set, prints this and returns
 * undefined.
 * @throws Error if the interpreter does not start or has no torch
 */
export async function startTorch(script: string): Promise<TorchPeer | undefined> {
  const python = process.env.ATELIER_TORCH_PYTHON;
  if (python === undefined || python === '') {
    console.log('PyTorch: ATELIER_TORCH_PYTHON is not set, so only Atelier is measured. It must name a Python interpreter with torch.');
    return undefined;
  }
  const { peer, hello } = await Peer.start<{ torch: string; threads: number }>('PyTorch', python, ['-B', '-u', join(folder, script)]);
  const other = hello.torch.startsWith(`${MEANT}.`) ? '' : `; the bounds were chosen for ${MEANT}`;
  console.log(`PyTorch ${hello.torch}, ${hello.threads} threads (${python})${other}`);
  return { peer, name: `PyTorch ${hello.torch}`, threads: hello.threads };
}
