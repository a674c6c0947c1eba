import { isDeepStrictEqual } from 'node:util';
import { jobName, messageOf, readMessage } from '../src/queue/job-message.ts';
import { experiments } from '../src/registry.ts';
import { planSweep } from '../src/sweep/sweep-plan.ts';
import type { MutatedKind } from './read.ts';

/** The data of a job, as BullMQ hands it over, and now and then the name of another job. */
export const jobs: MutatedKind = {
  name: 'job of a queue',
  share: 4,
  async open() {
    const messages = experiments.map((one) => messageOf(one, planSweep(one, Object.keys(one.presets)[0]!, ['seed=3']).jobs[0]!));
    return (mutator) => {
      const message = mutator.pick(messages);
      const text = mutator.json(message);
      const name = mutator.below(8) === 0 ? mutator.text(jobName(message)) : jobName(message);
      let plain: unknown = text;
      try {
        plain = JSON.parse(text);
      } catch {
        // BullMQ itself refuses what is no JSON. Here it stays a text.
      }
      return {
        input: `${name} ${text}`,
        read: () => readMessage(experiments, name, plain),
        wrong: (found: ReturnType<typeof readMessage>) => {
          if (!isDeepStrictEqual(found.message, plain)) return 'another message than the one that was sent';
          if (jobName(found.message) !== name) return 'a message under the name of another';
          return undefined;
        },
      };
    };
  },
};
