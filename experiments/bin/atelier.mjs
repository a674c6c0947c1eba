#!/usr/bin/env node
// `atelier`: the command line, from its sources.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bundled } from './bundle.mjs';

await import(pathToFileURL(await bundled(join(import.meta.dirname, '..', 'src', 'cli.ts'))).href);
