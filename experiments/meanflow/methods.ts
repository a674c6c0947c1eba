import type { Curve } from '../src/runner/experiment.ts';

/** The colour of each method in all charts. */
export const colors = { MeanFlow: 0, 'flow matching': 1, 'true samples': 2 } as const;

/** Where the other kinds of MeanFlow begin among the colours. */
const OTHERS = 3;
const kinds = ['tangent-v00', 'tangent-v10', 'tangent-v11', 'tangent-001'];

/** The networks of a part share axes; the loss of MeanFlow and that of flow matching measure different things. */
export function curve(series: string): Curve | undefined {
  const [, part, name] =
    /^(?:(gaussian|checkerboard|ring)-)?(meanflow|flow-matching|tangent-\w+|guided-[\w.-]+?)(?:-\d+)?$/.exec(series) ?? [];
  if (name === undefined) return undefined;
  const group = part ?? 'images';
  if (name === 'flow-matching') return { method: 'flow matching', color: colors['flow matching'], group, loss: 'loss of flow matching' };
  if (name === 'meanflow') return { method: 'MeanFlow', color: colors.MeanFlow, group, loss: 'loss of MeanFlow' };
  const place = kinds.indexOf(name);
  const color = OTHERS + (place < 0 ? kinds.length : place);
  const method = place < 0 ? `MeanFlow, ${name.replaceAll('-', ' ')}` : `JVP direction ${name.slice('tangent-'.length)}`;
  return { method, color, group, loss: `loss of ${place < 0 ? 'MeanFlow with guidance' : 'MeanFlow with other JVP directions'}` };
}
