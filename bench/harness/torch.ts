import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Peer } from './peer.ts';

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', 'peers');

/** The version that the bounds are meant for. */
const MEANT = '2.13';

/** A PyTorch peer and its full name with the version. */
export type TorchPeer = { peer: Peer; name: string; threads: number };

/**
 * Starts a script of `peers/` with the interpreter in ATELIER_TORCH_PYTHON; without one says so and gives nothing.
 * @throws Error if the interpreter does not start or has no torch
 */
export async function startTorch(script: string): Promise<TorchPeer | undefined> {
  const python = process.env.ATELIER_TORCH_PYTHON;
  if (python === undefined || python === '') {
    console.log('PyTorch: no peer, for ATELIER_TORCH_PYTHON does not name a Python interpreter that has torch; only our side is measured.');
    return undefined;
  }
  const { peer, hello } = await Peer.start<{ torch: string; threads: number }>('PyTorch', python, ['-B', '-u', join(folder, script)]);
  const other = hello.torch.startsWith(`${MEANT}.`) ? '' : `; the bounds are meant for ${MEANT}`;
  console.log(`PyTorch ${hello.torch}, ${hello.threads} threads (${python})${other}`);
  return { peer, name: `PyTorch ${hello.torch}`, threads: hello.threads };
}
