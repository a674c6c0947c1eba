// A peer for the tests: says what the test asks it to, line by line, and nothing that takes time.
import { createInterface } from 'node:readline';

const [how] = process.argv.slice(2);
if (how === 'absent') {
  console.error('ModuleNotFoundError: no such module');
  process.exit(3);
}
console.log(how === 'noisy' ? 'Welcome!' : JSON.stringify({ version: '1.0' }));
createInterface({ input: process.stdin }).on('line', (line) => {
  const [command, argument] = line.split(' ');
  if (command === 'measure' && how === 'short') console.log('[1]');
  else if (command === 'measure') console.log(JSON.stringify(Array.from({ length: Number(argument) }, (_, i) => i + 1)));
  else if (command === 'end') process.exit(0);
  else console.log(JSON.stringify({ error: `wanted measure, got '${command}'` }));
});
