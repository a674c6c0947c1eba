import { beforeAll, describe, expect, it } from 'vitest';
import { layerCases, layerFaults, LONG } from '../sweep/layers.ts';
import { useOrt } from './agree.ts';

beforeAll(useOrt);

describe('a model with one layer gives what it gives on cpu: prediction, gradients, losses and weights after training', () => {
  for (const one of layerCases.filter(({ name }) => !LONG.has(name))) it(one.name, async () => expect(await layerFaults(one)).toEqual([]));
});
