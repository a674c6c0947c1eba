import type { Case } from './draw.ts';
import { binary, comparisons, logic, smooth } from './elementwise-cases.ts';
import { folds } from './fold-cases.ts';
import { moves } from './move-cases.ts';
import { neighbourhoods } from './neighbourhood-cases.ts';
import { products } from './product-cases.ts';

/** Every derivative that is checked, with what is special about it. */
export const cases: readonly Case[] = [...smooth, ...binary, ...comparisons, ...logic, ...folds, ...moves, ...products, ...neighbourhoods];
