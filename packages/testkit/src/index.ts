export { findChromium } from './chromium.ts';
export { expectClose, relativeError, type Tolerance } from './close.ts';
export {
  centralDifference,
  directionalDifference,
  expectGradients,
  tensorDifference,
  tensorDirectionalDifference,
  type DifferenceOptions,
  type GradientOptions,
  type HostFunction,
} from './finite-difference.ts';
export { golden, Golden, GoldenFile } from './golden.ts';
export { expectNoLeak } from './leak.ts';
export { type Setting } from './settings.ts';
export { type Values } from './values.ts';
export { checkLayer, type HostLayer } from './check-layer.ts';
export * as officialDiT from './official-dit.ts';
