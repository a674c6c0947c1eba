import { createRequire } from 'node:module';
import { arch, availableParallelism, cpus, loadavg, platform, totalmem } from 'node:os';

/** A text for people: processor, cores, memory, versions, and the load of the machine before the bench begins. */
export function machineDescription(): string {
  const model = (cpus()[0]?.model ?? 'unknown processor').trim().replace(/\s+/g, ' ');
  const memory = Math.round(totalmem() / 2 ** 30);
  const [load] = loadavg();
  return [
    `${model}, ${availableParallelism()} cores, ${memory} GiB, ${platform()} ${arch()}, load ${load!.toFixed(1)}`,
    `Node ${process.versions.node}, ONNX Runtime ${onnxRuntimeVersion()}`,
  ].join('\n');
}

function onnxRuntimeVersion(): string {
  const backend = createRequire(createRequire(import.meta.url).resolve('@atelier/backend-ort'));
  return (backend('onnxruntime-node/package.json') as { version: string }).version;
}
