import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..', '..');
// The scripts at the top of the workspace are plain Node and have no types.
const { programOf, readmes, RESOLUTIONS, typeErrors } = (await import(join(root, 'scripts', 'readme-programs.mjs'))) as {
  programOf: (readme: string) => string;
  readmes: () => string[];
  RESOLUTIONS: Record<string, object>;
  typeErrors: (programs: Record<string, string>, options: object) => string[];
};

/** A module beside the README, so that it may import what that package may; the README at the top is read as a user of all packages. */
const place = (readme: string): string =>
  join(root, readme === 'README.md' ? 'experiments/workspace-readme.mts' : readme.replace(/\.md$/, '.mts'));
const sources = { customConditions: ['@atelier/source'], allowImportingTsExtensions: true };

describe('the TypeScript in the READMEs', () => {
  const programs = Object.fromEntries(
    readmes()
      .map((readme) => [place(readme), programOf(readme)] as const)
      .filter(([, program]) => program !== ''),
  );

  it('is found in every README that has some, with its line numbers', () => {
    const fences = readmes().filter((readme) => readFileSync(join(root, readme), 'utf8').includes('```ts'));
    expect(fences.length).toBeGreaterThan(9);
    expect(Object.keys(programs)).toEqual(fences.map(place));
    const [line] = programOf('README.md').split('\n').filter((text) => text.includes('sampleMeanFlow')); // prettier-ignore
    const at = (text: string): number => text.split('\n').indexOf(line!);
    expect(at(programOf('README.md'))).toBe(at(readFileSync(join(root, 'README.md'), 'utf8')));
  });

  // In the same run, so that the library's types are read once: `tf` is a namespace of types, and errors are found.
  const probe = join(root, 'packages/nn/probe.mts');
  const mistakes = `import { tf } from '@atelier/tensor';
    const x: tf.Tensor2D = tf.ones([2, 3]);
    const y: tf.Tensor3D = x;
    const z: tf.NoSuchType = y;`;

  it.each(Object.keys(RESOLUTIONS))('has no type error with the module resolution %s, where mistakes would show', (name) => {
    const errors = typeErrors({ ...programs, [probe]: mistakes }, { ...sources, ...RESOLUTIONS[name] });
    const found = errors.map((error) => /probe\.mts:(\d+): (TS\d+)/.exec(error)?.slice(1).join(' ') ?? error);
    expect(found).toEqual(['3 TS2322', '4 TS2694']);
  });
});
