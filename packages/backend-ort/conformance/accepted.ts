/** Specs of TensorFlow.js's suite that do not run on `ort`, each with the reason. Every other spec that fails is a defect. */
export interface Accepted {
  group: string;
  /** One spec of the group; absent: every spec of it. */
  name?: string;
  reason: string;
}

const switchedOff = 'switched off in the suite itself (`xit`), on every backend';

export const accepted: readonly Accepted[] = [
  { group: 'debug on', name: 'A x B', reason: switchedOff },
  { group: 'IS_BROWSER', name: 'isBrowser: true', reason: switchedOff },
  { group: 'IS_BROWSER', name: 'isBrowser: false', reason: switchedOff },
  { group: 'kernel_registry', name: 'errors when registering the same kernel twice', reason: switchedOff },
  { group: 'gradient registry', name: 'warning when registering the same gradient twice', reason: switchedOff },
  {
    group: 'Switching cpu backends',
    reason: 'defined only where the backend is named `cpu`: it moves tensors between two copies of `cpu`',
  },
];

export const reasonFor = (group: string, name: string): string | undefined =>
  accepted.find((entry) => entry.group === group && (entry.name === undefined || entry.name === name))?.reason;
