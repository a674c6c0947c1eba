import { registerOrt } from '../src/register.ts';
import { faultsOf } from './compare.ts';
import { differences, reasonFor, type Difference } from './differences.ts';
import { calls } from './calls.ts';
import { graphFaults, graphOperators } from './graph-operators.ts';
import { layerCases, layerFaults } from './layers.ts';
import { DTYPES } from './modes.ts';
import { emptyAxes } from './table.ts';

/**
 * `pnpm --filter @atelier/backend-ort sweep [kernel]`: every call of the tables with every type, with full operands and with each axis empty, in
 * every way that a program can make it; then each layer of `tf.layers`, predicted, derived and trained; then each operator of a GraphModel. It fails if a result differs from that of `cpu` without a reason, or if a reason explains nothing.
 */

const [only] = process.argv.slice(2);
registerOrt();
const used = new Set<Difference>();
let [count, faulty] = [0, 0];
for (const call of calls) {
  if (only !== undefined && !call.kernel.startsWith(only)) continue;
  for (const dtype of DTYPES) {
    for (const empty of [null, ...emptyAxes(call)]) {
      count++;
      const faults = await faultsOf(call, dtype, empty);
      if (faults.length === 0) continue;
      const reason = reasonFor(call.kernel, dtype, empty);
      if (reason !== undefined) used.add(reason);
      else {
        faulty++;
        console.log(faults.join('\n'));
      }
    }
  }
}
for (const one of layerCases) {
  if (only !== undefined && !one.name.startsWith(only)) continue;
  const faults = await layerFaults(one);
  if (faults.length > 0) faulty++;
  for (const fault of faults) console.log(`layer ${one.name}, ${fault}`);
}
for (const one of graphOperators) {
  if (only !== undefined && !one.op.startsWith(only)) continue;
  const faults = await graphFaults(one);
  if (faults.length > 0) faulty++;
  for (const fault of faults) console.log(`graph operator ${one.op}, ${fault}`);
}
const idle = only === undefined ? differences.filter((difference) => !used.has(difference)) : [];
for (const { kernels, reason } of idle) console.log(`no call of ${kernels.join(', ')} differs: ${reason}`);
console.log(
  `${count} calls, ${layerCases.length} layers and ${graphOperators.length} graph operators, ${faulty} with a difference that has no reason`,
);
process.exitCode = faulty + idle.length === 0 ? 0 : 1;
