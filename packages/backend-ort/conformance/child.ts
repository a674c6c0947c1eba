/** One run of the suite: `child.ts <backend> <file for the results>`. Jasmine's globals and the suite's registrations stay in this process. */
import { writeFileSync } from 'node:fs';
import { runSuite } from './suite.ts';

const [backend, file] = process.argv.slice(2) as [string, string];
writeFileSync(file, JSON.stringify(await runSuite(backend)));
// The suite leaves timers behind.
process.exit(0);
