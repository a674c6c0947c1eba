import type { RunEntry } from '../runner/runs-page.ts';
import { comparison } from './compare.ts';
import { dataOf } from './element.ts';

// The page over all runs: ticking two of them compares them below. The address remembers which.
const runs = new Map(dataOf<RunEntry[]>('run-data').map((run) => [run.id, run]));
const boxes = [...document.querySelectorAll<HTMLInputElement>('input[name=compare]')];
const place = document.getElementById('comparison')!;
const hint = document.getElementById('hint')!;
let ticked: string[] = [];

function show(): void {
  for (const box of boxes) box.checked = ticked.includes(box.value);
  const [a, b] = ticked.map((id) => runs.get(id)!);
  hint.textContent = b ? 'These two runs are compared below the table.' : a ? 'Tick one more run.' : 'Tick two runs to compare them.';
  place.replaceChildren(...(a && b ? [comparison(a, b)] : []));
  history.replaceState(null, '', ticked.length === 0 ? location.pathname : `#${ticked.join(',')}`);
}

for (const box of boxes)
  box.addEventListener('change', () => {
    // A third run takes the place of the one that was ticked first.
    ticked = box.checked ? [...ticked, box.value].slice(-2) : ticked.filter((id) => id !== box.value);
    show();
    if (ticked.length === 2) place.scrollIntoView({ behavior: 'smooth' });
  });
ticked = decodeURIComponent(location.hash.slice(1))
  .split(',')
  .filter((id) => runs.has(id))
  .slice(0, 2);
show();
