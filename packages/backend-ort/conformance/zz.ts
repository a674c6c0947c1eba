import { runSuite } from '/work/main/packages/backend-ort/conformance/suite.ts';
import { writeFileSync } from 'node:fs';
const backend = process.argv[2] ?? 'ort';
const r = await runSuite(backend, process.argv[3] ?? '');
const c = (s: string) => r.filter(x => x.status===s).length;
writeFileSync(`/tmp/conf-${backend}.json`, JSON.stringify(r, null, 1));
console.log(backend, r.length, 'passed', c('passed'), 'failed', c('failed'), 'pending', c('pending'));
process.exit(0);
