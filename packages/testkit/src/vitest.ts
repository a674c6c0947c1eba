export { everyEngine, testEngines, testOn, type Capability, type TestEngine } from './engines.ts';
export { checkParity, parityPlan, paritySuite, type ParityCheck, type ParityEntry, type ParityOptions, type ParityPlan } from './parity.ts';
