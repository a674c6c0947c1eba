import { useEngine, type EngineName } from '@atelier/tensor';
import { beforeAll, describe, it } from 'vitest';

/** What a test may ask of an engine. */
export type Capability = 'graphs' | 'synchronous' | 'fast';

/** An engine that tests run on, with what it can do. */
export type TestEngine = { readonly name: EngineName } & Readonly<Record<Capability, boolean>>;

/** What each capability means, as a sentence about an engine that lacks it. */
const LACKS: Record<Capability, string> = {
  graphs: 'makes no graphs of compiled functions',
  synchronous: 'cannot read values synchronously',
  fast: 'computes element by element in JavaScript',
};

/** The one place where an engine's name stands for what it can do. */
const CAPABILITIES: Record<EngineName, Readonly<Record<Capability, boolean>>> = {
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
  return [...new Set([chosen, 'cpu'] as EngineName[])].map((name) => ({ name, ...CAPABILITIES[name] }));
}

/** Declares the same tests once for each engine, which is current while they run. */
export function everyEngine(suite: (engine: TestEngine) => void): void {
  for (const engine of testEngines())
    describe(`on ${engine.name}`, () => {
      beforeAll(async () => void (await useEngine(engine.name)));
      suite(engine);
    });
}

/**
 * A test that needs capabilities, each with the reason why. On an engine that lacks one it is skipped, and its title says which one and why.
 * Unlike a comparison of names this also holds for engines that are added later.
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
