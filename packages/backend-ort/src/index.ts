export { OrtBackend } from './backend.ts';
export { CompiledGraph, traceGraph } from './compiled-graph.ts';
export type { OperatorTime } from './profile.ts';
export { registerOrt } from './register.ts';
export { traceScan } from './scan.ts';
export { nativeThreads, pooledThreads, threadBound } from './thread-pools.ts';
export { bundledDevices, openSessions, type Device, type RuntimeOptions } from './runtime.ts';
