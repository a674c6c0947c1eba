/**
 * One work of `bench memory` in a process of its own. Arguments: its name, and how often to do it. Prints a line of JSON for each lap: what the process
 * holds.
 */
import { useEngine } from '@atelier/tensor';
import { runLaps } from '../harness/laps.ts';
import { repeatedWorks } from '../workloads/memory/index.ts';

const [name, total] = process.argv.slice(2) as [string, string];
await useEngine('ort');
await runLaps(repeatedWorks[name]!, Number(total), (lap) => console.log(JSON.stringify(lap)));
