import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';

const NATIVE = resolve(import.meta.dirname, '../../../src/companions/udp/native');
/** More of them by hand: FLATNET_FUZZ_CASES=10000000. */
const CASES = process.env.FLATNET_FUZZ_CASES ?? '100000';
const hasCompiler = spawnSync('gcc', ['--version']).status === 0;

test('packets that are nearly right do no harm to the forwarder in C', {
  skip: hasCompiler || process.env.CI ? false : 'needs gcc',
}, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'fuzz-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const program = join(folder, 'fuzz');
  const sources = globSync(join(NATIVE, '*.c')).filter(
    (path) => !/\/(main|endpoints|handover)\.c$/.test(path),
  );
  const compiled = spawnSync(
    'gcc',
    [
      ...[
        '-std=c11',
        '-O1',
        '-g',
        '-fsanitize=address,undefined',
        '-fno-sanitize-recover=all',
        '-I',
        NATIVE,
        '-Wl,--wrap=sendmsg',
      ],
      ...[join(import.meta.dirname, 'fuzz.c'), ...sources, '-o', program],
    ],
    { encoding: 'utf8' },
  );
  assert.equal(compiled.status, 0, compiled.stderr);
  const seed = process.env.FLATNET_FUZZ_SEED ?? `${Date.now()}`;
  // With the randomness that kernels give addresses today, older sanitizers die at their start now and then.
  const argv = ['--addr-no-randomize', program, CASES, seed];
  const { status, signal, stdout, stderr } = spawnSync('setarch', argv, { encoding: 'utf8' });
  assert.equal(status, 0, `seed ${seed}: ${signal ?? ''} ${stdout}${stderr}`);
  t.diagnostic(stdout.trim());
});
