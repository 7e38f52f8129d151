import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';

test('a file whose process dies is reported with its signal and what it wrote to standard error', (t) => {
  const { status, output } = run(t, 'exec "$@"', [
    "console.error('the last words');",
    "test('ends the process', () => process.kill(process.pid, 'SIGKILL'));",
  ]);
  assert.equal(status, 1);
  assert.match(output, /exit code null, signal SIGKILL/);
  assert.match(output, /last lines of standard error:\s+the last words/);
});

test('a file that exits on its own is reported with its exit code', (t) => {
  const { status, output } = run(t, 'exec "$@"', ['process.exit(3);']);
  assert.equal(status, 1);
  assert.match(output, /exit code 3, signal null/);
});

test('an error thrown by a test in the guest is reported as such', (t) => {
  const { status, output } = run(t, 'exec "$@"', [
    "test('throws', () => { throw new Error('no such route'); });",
  ]);
  assert.equal(status, 1);
  assert.match(output, /no such route/);
});

test('tests are skipped if the virtual machine cannot start, but not in CI', (t) => {
  const vm = 'echo "vm: cannot start: no qemu" >&2; exit 127';
  const { status, output } = run(t, vm, []);
  assert.equal(status, 0);
  assert.match(output, /# SKIP vm: cannot start: no qemu/);
  assert.equal(run(t, vm, [], { CI: '1' }).status, 1);
});

test('a command of the guest that exits with 127 is a failure, whatever it prints', (t) => {
  const { status } = run(t, 'echo "vm: cannot start: no qemu"; exit 127', []);
  assert.equal(status, 1);
});

test('a file that fails is repeated once, in a fresh guest, and its first failure shown', (t) => {
  const { status, output } = run(t, 'echo started; exec "$@"', [
    "import { existsSync, writeFileSync } from 'node:fs';",
    "test('a good day', () => {",
    "  if (existsSync('failed')) return;",
    "  writeFileSync('failed', '');",
    "  throw new Error('a bad day');",
    '});',
  ]);
  assert.equal(status, 0);
  assert.match(output, /failed at first: a good day/);
  assert.match(output, /Error: a bad day/);
  assert.match(output, /once more, in a fresh guest: a\.test\.mjs/);
  assert.equal(output.match(/# started/g)?.length, 2);
});

test('a guest that ends too early is repeated, too', (t) => {
  const { status, output } = run(t, '[ -e died ] && exec "$@"; touch died; echo panic; exit 1', [
    "test('runs', () => {});",
  ]);
  assert.equal(status, 0);
  assert.match(output, /panic/);
});

/** Runs guest.ts with the shell script `vm` in place of scripts/vm, on one test file of these `lines`. */
function run(t: TestContext, vm: string, lines: readonly string[], settings: Record<string, string> = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'flatnet-guest-'));
  t.after(() => rmSync(directory, { recursive: true }));
  mkdirSync(join(directory, 'scripts'));
  writeFileSync(join(directory, 'scripts/vm'), `#!/bin/sh\n${vm}\n`);
  chmodSync(join(directory, 'scripts/vm'), 0o755);
  writeFileSync(join(directory, 'a.test.mjs'), ["import { test } from 'node:test';", ...lines].join('\n'));
  const { NODE_TEST_CONTEXT: _, CI: __, ...inherited } = process.env;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--test', '--test-reporter=tap', join(import.meta.dirname, 'guest.ts')],
    {
      cwd: directory,
      encoding: 'utf8',
      env: { ...inherited, ...settings, FLATNET_VM_FILES: 'a.test.mjs' },
    },
  );
  return { status, output: stdout + stderr };
}
