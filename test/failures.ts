import { relative } from 'node:path';
import type { TestEvent } from 'node:test/reporters';
import { inspect } from 'node:util';

/** Lines kept of one error; its beginning says what is wrong. */
const LINES = 40;

/**
 * A reporter for `node --test`: each failed test with its error. `scripts/test` prints it after everything
 * else, so that the end of a log, which may be all there is, says what is broken.
 */
export default async function* report(events: AsyncIterable<TestEvent>): AsyncIterable<string> {
  for await (const { type, data } of events) {
    if (type !== 'test:fail' || data.todo !== undefined) continue;
    const { error } = data.details;
    // A test that fails only because of its subtests, which are listed themselves.
    if ((error as { failureType?: string }).failureType === 'subtestsFailed') continue;
    const at = data.file === undefined ? '' : ` (${relative(process.cwd(), data.file)}:${data.line ?? 1})`;
    yield `✖ ${data.name}${at}\n${indented(textOf(error))}\n`;
  }
}

function textOf({ cause, message }: Error): string {
  if (typeof cause === 'string') return cause;
  return cause === undefined ? message : inspect(cause);
}

function indented(text: string): string {
  const lines = text.split('\n');
  const kept = lines.length > LINES ? [...lines.slice(0, LINES), '…'] : lines;
  return kept.map((line) => `    ${line}`).join('\n');
}
