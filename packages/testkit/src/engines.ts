import { useEngine, type EngineName } from '@atelier/tensor';
import { beforeAll, describe, it } from 'vitest';

/** The capabilities that a test may need from an engine. */
export type Capability = 'graphs' | 'synchronous' | 'fast';

/** An engine that tests run on, with its capabilities. */
export type TestEngine = { readonly name: EngineName } & Readonly<Record<Capability, boolean>>;

/** For each capability, a sentence about an engine that lacks it. */
const LACKS: Record<Capability, string> = {
  graphs: 'makes no graphs of compiled functions',
  synchronous: 'cannot read values synchronously',
  fast: 'computes element by element in JavaScript',
};

/** The capabilities of each engine that runs in Node, by name. No other code decides by the name of an engine. */
const CAPABILITIES: Record<Exclude<EngineName, 'webgl'>, Readonly<Record<Capability, boolean>>> = {
  ort: { graphs: true, synchronous: true, fast: true },
  cpu: { graphs: false, synchronous: true, fast: false },
  wasm: { graphs: false, synchronous: true, fast: true },
  tensorflow: { graphs: false, synchronous: true, fast: true },
};

/** The engines that tests run on: the chosen one (`ATELIER_ENGINE`, or else `ort`) and TensorFlow.js's own `cpu`. @throws Error if it is unknown */
export function testEngines(): TestEngine[] {
  const chosen = process.env['ATELIER_ENGINE'] ?? 'ort';
  const names = Object.keys(CAPABILITIES);
  if (!names.includes(chosen)) throw new Error(`testEngines: wanted ATELIER_ENGINE to be one of ${names.join(', ')}, got '${chosen}'`);
  return [...new Set([chosen, 'cpu'] as (keyof typeof CAPABILITIES)[])].map((name) => ({ name, ...CAPABILITIES[name] }));
}

/** Declares the same tests for each engine. That engine is current while they run. */
export function everyEngine(suite: (engine: TestEngine) => void): void {
  for (const engine of testEngines())
    describe(`on ${engine.name}`, () => {
      beforeAll(async () => void (await useEngine(engine.name)));
      suite(engine);
    });
}

/**
 * A test that needs capabilities, each with a reason. On an engine that lacks one of them the test is skipped, and its title says which one and why.
 * This also works for engines that are added later, which a comparison of engine names would not do.
 */
export function testOn(
  engine: TestEngine,
  title: string,
  needs: Partial<Record<Capability, string>>,
  body: () => void | Promise<void>,
): void {
  const missing = (Object.keys(needs) as Capability[]).filter((capability) => !engine[capability]);
  if (missing.length === 0) it(title, body);
  else it.skip(`${title} (not on ${engine.name}, which ${missing.map((one) => `${LACKS[one]}: ${needs[one]}`).join('; ')})`, body);
}
