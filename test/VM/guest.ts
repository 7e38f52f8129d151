import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { test } from 'node:test';
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
  const guest = start();
  t.after(() => guest.kill());
  const complaint = textOf(guest);
  const ended = once(guest, 'close');
  let count = 0;
  for await (const line of createInterface({ input: guest.stdout })) {
    const result = resultOf(line);
    if (!result) {
      if (line.trim()) t.diagnostic(line);
      continue;
    }
    count++;
    await t.test(
      `${result.name} (${Math.round(result.duration)} ms in the guest)`,
      { skip: result.skip ?? false },
      () => {
        if (result.error !== undefined) throw new Error(result.error);
      },
    );
  }
  const [status] = await ended;
  if (status === 127 && NOT_INSTALLED.test(complaint()) && !process.env.CI) t.skip(complaint());
  else assert.equal(status, 0, complaint() || `the tests in the guest failed with status ${status}`);
  assert.ok(status !== 0 || count >= files.length, `${count} results of ${files.length} files`);
});

type Guest = ChildProcessByStdio<null, Readable, Readable>;

function start(): Guest {
  // The guest's test runner must not believe it was started by ours.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const node = ['--disable-warning=ExperimentalWarning', '--test', '--test-concurrency=1'];
  const reporter = `--test-reporter=${import.meta.dirname}/reporter.ts`;
  return spawn('scripts/vm', [process.execPath, ...node, reporter, ...files], {
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
