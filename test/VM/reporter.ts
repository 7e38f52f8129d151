import type { TestEvent } from 'node:test/reporters';
import { inspect } from 'node:util';

/** The result of one test in the guest, as one line of JSON. */
export type Result = {
  readonly flatnetResult: 1;
  readonly name: string;
  /** Milliseconds. */
  readonly duration: number;
  readonly skip?: string | boolean;
  /** The thrown error; if a file's process died, its exit code, signal and last lines of standard error. */
  readonly error?: string;
};

/** Lines of standard error kept per file. */
const TAIL = 20;

/** The runner's totals, which the outer runner computes itself. */
const SUMMARY = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) [\d.]+$/;

/**
 * A reporter for `node --test`: one line per test, for `guest.ts`, interspersed with the tests' own output.
 */
export default async function* report(events: AsyncIterable<TestEvent>): AsyncIterable<string> {
  // By file as the runner was given it, which is also the name under which it reports the file's own failure.
  const tails = new Map<string, readonly string[]>();
  for await (const { type, data } of events) {
    if (type === 'test:stdout' || type === 'test:stderr') yield data.message;
    if (type === 'test:stderr') {
      tails.set(data.file, [...(tails.get(data.file) ?? []), data.message].slice(-TAIL));
    }
    if (type === 'test:diagnostic' && !SUMMARY.test(data.message)) yield `${data.message}\n`;
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const { name, skip, details } = data;
    const error =
      'error' in details && details.error ? textOf(details.error, tails.get(name) ?? []) : undefined;
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

/** `stderr`: the last lines that the test's file wrote to standard error. */
function textOf(error: Error, stderr: readonly string[]): string {
  // The runner sets these only on the failure of a whole file, whose process died or exited with an error.
  const { exitCode, signal, failureType } = error as ProcessFailure;
  if (exitCode === undefined && signal === undefined) return inspect(error.cause ?? error);
  const end = `the file's process ended with exit code ${exitCode}, signal ${signal} (${failureType})`;
  return [
    end,
    ...(stderr.length > 0 ? ['last lines of standard error:', stderr.join('').trimEnd()] : []),
  ].join('\n');
}

type ProcessFailure = Error & {
  readonly exitCode?: number | null;
  readonly signal?: string | null;
  readonly failureType?: string;
};
