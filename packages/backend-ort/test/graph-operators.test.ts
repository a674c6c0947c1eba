import { beforeAll, describe, expect, it } from 'vitest';
import { graphFaults, graphOperators } from '../sweep/graph-operators.ts';
import { useOrt } from './agree.ts';

beforeAll(useOrt);

describe('a GraphModel with one operator gives what it gives on cpu, evaluated, again, and compiled', () => {
  for (const one of graphOperators) it(one.op, async () => expect(await graphFaults(one)).toEqual([]));
});
