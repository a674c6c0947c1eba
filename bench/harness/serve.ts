import { createInterface } from 'node:readline';

/** Obeys a bench as its peer: says what it is in one line, then answers each command with one line of JSON. */
export async function servePeer(
  hello: () => Promise<unknown>,
  obey: (command: string, argument: string) => Promise<unknown>,
): Promise<void> {
  const answer = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
  // Output of libraries goes to stderr, so that it is not read as an answer.
  console.log = console.info = console.warn;
  const sentence = (error: unknown): { error: string } => ({
    error: (error instanceof Error ? error.message : String(error)).split('\n')[0]!,
  });
  try {
    answer(await hello());
    for await (const line of createInterface({ input: process.stdin })) {
      const space = line.indexOf(' ');
      const [command, argument] = space < 0 ? [line, ''] : [line.slice(0, space), line.slice(space + 1)];
      answer(await obey(command, argument).catch(sentence));
    }
  } catch (error) {
    answer(sentence(error));
  }
}
