import type { HostArray } from './onnx.ts';

/** The system gives smaller memory quickly, and garbage collection frees it soon enough. */
const MIN_FREED_BYTES = 2 ** 16;

/**
 * Moving an array to a port that is closed is the only way in Node 20 to free it before the next garbage collection. (At a port whose other end
 * is closed, the array would wait until the end of the current task.)
 */
const closedPort = ((): MessagePort => {
  const { port1 } = new MessageChannel();
  port1.close();
  return port1;
})();

/**
 * Frees the memory of arrays that nothing will read again. Garbage collection would free it much later. Until then each run takes new
 * memory, which the system maps page by page, and the process grows.
 */
export function freeNow(arrays: readonly HostArray[]): void {
  const buffers = arrays.map(({ buffer }) => buffer as ArrayBuffer).filter(({ byteLength }) => byteLength >= MIN_FREED_BYTES);
  if (buffers.length > 0) closedPort.postMessage(null, buffers);
}
