import type { TestEvent } from 'node:test/reporters';
import { inspect } from 'node:util';

/** The result of one test in the guest, as one line of JSON. */
export type Result = {
  readonly flatnetResult: 1;
  readonly name: string;
  /** Milliseconds. */
  readonly duration: number;
  readonly skip?: string | boolean;
  /** The thrown error. */
  readonly error?: string;
};

/** The runner's totals, which the outer runner computes itself. */
const SUMMARY = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) [\d.]+$/;

/**
 * A reporter for `node --test`: one line per test, for `guest.ts`, interspersed with the tests' own output.
 */
export default async function* report(events: AsyncIterable<TestEvent>): AsyncIterable<string> {
  for await (const { type, data } of events) {
    if (type === 'test:stdout' || type === 'test:stderr') yield data.message;
    if (type === 'test:diagnostic' && !SUMMARY.test(data.message)) yield `${data.message}\n`;
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const { name, skip, details } = data;
    const error =
      'error' in details && details.error ? inspect(details.error.cause ?? details.error) : undefined;
    const result: Result = {
      flatnetResult: 1,
      name,
      duration: details.duration_ms,
      ...(skip !== undefined && { skip }),
      ...(error !== undefined && { error }),
    };
    yield `\n${JSON.stringify(result)}\n`;
  }
}
