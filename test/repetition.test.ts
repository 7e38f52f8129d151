import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';

const ROOT = join(import.meta.dirname, '..');

/** A test that fails the first time it runs in a folder. */
const ONCE = `if (existsSync('failed')) return;
  writeFileSync('failed', '');
  throw new Error('a bad day');`;

test('a file that fails is repeated, and its first failure shown at the end', (t) => {
  const { status, output } = run(t, { fickle: ONCE, good: '' });
  assert.equal(status, 0, output);
  assert.match(output, /Repeating what failed: test\/fickle\.test\.ts\n/);
  assert.match(
    output,
    /Failed once, and passed when repeated:\n✖ fickle \(test\/fickle\.test\.ts:\d+\)\n.*a bad day/,
  );
  assert.doesNotMatch(output, /Failed tests:/);
});

test('a file that fails twice fails the run', (t) => {
  const { status, output } = run(t, { fickle: ONCE, broken: `throw new Error('always');` });
  assert.equal(status, 1, output);
  assert.match(output, /Failed tests:[\s\S]*always/);
  assert.doesNotMatch(output, /passed when repeated/);
});

test('many files that fail are not repeated', (t) => {
  const broken = Object.fromEntries(
    [1, 2, 3, 4, 5, 6].map((n) => [`broken-${n}`, ONCE.replace('failed', `failed-${n}`)]),
  );
  const { status, output } = run(t, broken);
  assert.equal(status, 1, output);
  assert.doesNotMatch(output, /Repeating/);
});

/** Runs scripts/test in a folder that has only these tests: the body of each by its name. */
function run(t: TestContext, tests: Readonly<Record<string, string>>) {
  const directory = mkdtempSync(join(tmpdir(), 'flatnet-repetition-'));
  t.after(() => rmSync(directory, { recursive: true }));
  for (const folder of ['scripts', 'test']) mkdirSync(join(directory, folder));
  for (const file of ['scripts/test', 'test/failures.ts', 'test/failed-files.ts']) {
    copyFileSync(join(ROOT, file), join(directory, file));
  }
  for (const program of ['flanneld', 'portmap', 'kubernetes', 'helm', 'moto'])
    symlinkSync('/bin/true', join(directory, 'scripts', program));
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  for (const [name, body] of Object.entries(tests)) {
    const text = `import { existsSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
test('${name}', () => { ${body} });`;
    writeFileSync(join(directory, 'test', `${name}.test.ts`), text);
  }
  const { NODE_TEST_CONTEXT: _, ...inherited } = process.env;
  const { status, stdout, stderr } = spawnSync(join(directory, 'scripts/test'), [], {
    env: inherited,
    encoding: 'utf8',
  });
  return { status, output: stdout + stderr };
}
