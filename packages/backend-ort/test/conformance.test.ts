import { beforeAll, describe, expect, it } from 'vitest';
import { accepted } from '../conformance/accepted.ts';
import { compare, count, runInChild, type Outcome } from '../conformance/compare.ts';

describe("TensorFlow.js's own suite", () => {
  let outcomes: Outcome[];
  beforeAll(async () => {
    outcomes = compare(await runInChild('cpu'), await runInChild('ort'));
  }, 180_000);

  it('passes on ort but for the specs that are listed with a reason', () => {
    const unexplained = outcomes.filter(({ status, reason }) => status !== 'passed' && reason === undefined);
    expect(unexplained.map(({ group, name, message }) => `${group} › ${name}: ${message}`)).toEqual([]);
    // A value that is right on cpu and wrong on ort is never accepted, even if it is in the list.
    expect(outcomes.filter(({ status, passesOnCpu }) => status === 'failed' && passesOnCpu)).toEqual([]);
    const { passed, skipped } = count(outcomes);
    expect(outcomes.length).toBe(4232);
    expect(passed + skipped).toBe(outcomes.length);
    expect(passed / outcomes.length).toBeGreaterThan(0.99);
  });

  it('needs every reason on the list', () => {
    const open = outcomes.filter(({ status }) => status !== 'passed');
    const unused = accepted.filter(
      ({ group, name }) => !open.some((spec) => spec.group === group && (name === undefined || spec.name === name)),
    );
    expect(unused).toEqual([]);
  });
});
