import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { replaceFile, replaceFileFlushed } from '../src/replace-file.ts';

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), `flatnet-replace-${process.pid}-`));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

const WAYS = {
  'at once': async (path: string, text: string) => replaceFile(path, text, { mode: 0o640 }),
  'at once, flushed': async (path: string, text: string) =>
    replaceFile(path, text, { mode: 0o640, flush: true }),
  'without blocking': (path: string, text: string) => replaceFileFlushed(path, text, 0o640),
};

for (const [name, replace] of Object.entries(WAYS)) {
  test(`a file is replaced ${name}: it is a new one with its own mode, and nothing is left beside it`, async (t) => {
    const dir = folder(t);
    const path = join(dir, 'file');
    await replace(path, 'old');
    const { ino } = statSync(path);
    await replace(path, 'new');
    assert.equal(readFileSync(path, 'utf8'), 'new');
    assert.equal(statSync(path).mode & 0o777, 0o640);
    assert.notEqual(statSync(path).ino, ino, 'who reads the old one keeps it');
    assert.deepEqual(readdirSync(dir), ['file']);
  });

  test(`what cannot be replaced ${name} stays as it is, and nothing is left beside it`, async (t) => {
    const dir = folder(t);
    const path = join(dir, 'folder');
    mkdirSync(path);
    writeFileSync(join(path, 'inside'), '');
    await assert.rejects(replace(path, 'new'), { code: 'EISDIR' });
    assert.deepEqual([readdirSync(dir), readdirSync(path)], [['folder'], ['inside']]);
    await assert.rejects(replace(join(dir, 'none', 'file'), 'new'), { code: 'ENOENT' });
  });
}

test('the mode does not depend on the umask where services of other users read the file', async (t) => {
  const path = join(folder(t), 'file');
  const before = process.umask(0o077);
  t.after(() => process.umask(before));
  await replaceFileFlushed(path, 'text', 0o644);
  assert.equal(statSync(path).mode & 0o777, 0o644);
});
