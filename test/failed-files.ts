import { relative } from 'node:path';
import type { TestEvent } from 'node:test/reporters';

/** A reporter for `node --test`: the files with a failed test, one a line, for `scripts/test` to repeat. */
export default async function* report(events: AsyncIterable<TestEvent>): AsyncIterable<string> {
  for await (const { type, data } of events) {
    if (type !== 'test:summary' || data.file === undefined || data.success) continue;
    yield `${relative(process.cwd(), data.file)}\n`;
  }
}
