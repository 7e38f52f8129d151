import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import type { Result } from './reporter.ts';

/*
 * Run by `scripts/test` in place of the files named in FLATNET_VM_FILES if this machine's kernel lacks what
 * they need: they run in one virtual machine, and each of their tests is reported as a test here.
 */
const files = (process.env.FLATNET_VM_FILES ?? '').split(' ').filter(Boolean);
/**
 * What scripts/vm prints on standard error if something it needs is missing. A guest cannot: all its output,
 * standard error included, arrives on standard output. Status 127 alone may also be the guest's own.
 */
const NOT_INSTALLED = /^vm: cannot start: /m;

test(`on a stock kernel in a virtual machine: ${files.join(' ')}`, async (t) => {
  const first = await run(t, files, (result) => result.error === undefined);
  if (first.isMissing && !process.env.CI) return t.skip(first.complaint);
  const again = files.filter((file) => !first.passed.has(file));
  if (first.isMissing || again.length === 0) return assertPassed(first);
  // Emulation makes processes and kernels die now and then (see scripts/vm-node.cjs), whatever they run.
  t.diagnostic(`once more, in a fresh guest: ${again.join(' ')}`);
  const second = await run(t, again, () => true);
  assertPassed(second);
  assert.deepEqual([...second.passed], again, 'the files that passed');
});

type Outcome = {
  readonly status: number;
  /** Standard error of scripts/vm. */
  readonly complaint: string;
  /** The virtual machine cannot be started here. */
  readonly isMissing: boolean;
  /** Files that ran to their end without a failure. */
  readonly passed: ReadonlySet<string>;
};

function assertPassed({ status, complaint }: Outcome): void {
  assert.equal(status, 0, complaint || `the tests in the guest failed with status ${status}`);
}

/** Runs test files in a guest; results that `counts` refuses are only shown. */
async function run(
  t: TestContext,
  files: readonly string[],
  counts: (result: Result) => boolean,
): Promise<Outcome> {
  const guest = start(files);
  t.after(() => guest.kill());
  const complaint = textOf(guest);
  const ended = once(guest, 'close');
  const passed = new Set<string>();
  for await (const line of createInterface({ input: guest.stdout })) {
    const [, file] = line.match(/^=== passed: (.+)$/) ?? [];
    if (file !== undefined) passed.add(file);
    const result = resultOf(line);
    if (!result) {
      if (line.trim()) t.diagnostic(line);
      continue;
    }
    const { name, duration, skip = false, error } = result;
    const title = `${name} (${Math.round(duration)} ms in the guest)`;
    if (!counts(result)) {
      t.diagnostic(`failed at first: ${title}\n${error}`);
      continue;
    }
    await t.test(title, { skip }, () => {
      if (error !== undefined) throw new Error(error);
    });
  }
  const [status] = await ended;
  const isMissing = status === 127 && NOT_INSTALLED.test(complaint());
  return { status, complaint: complaint(), isMissing, passed };
}

/** A runner for each file: a result does not tell which file it comes from. `$0` starts it. */
const EACH = 'status=0; for file; do $0 $file && echo "=== passed: $file" || status=1; done; exit $status';

type Guest = ChildProcessByStdio<null, Readable, Readable>;

function start(files: readonly string[]): Guest {
  // The guest's test runner must not believe it was started by ours.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const reporter = `--test-reporter=${import.meta.dirname}/reporter.ts`;
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', '--test', reporter];
  return spawn('scripts/vm', ['sh', '-c', EACH, node.join(' '), ...files], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env,
  });
}

/** Collects standard error; call the result after the guest has exited. */
function textOf({ stderr }: Guest): () => string {
  const chunks: Buffer[] = [];
  stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks).toString().trim();
}

function resultOf(line: string): Result | undefined {
  if (!line.startsWith('{"flatnetResult":1')) return undefined;
  return JSON.parse(line) as Result;
}
