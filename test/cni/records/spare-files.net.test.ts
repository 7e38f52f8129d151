import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SpareFiles, writeOver } from '../../../src/cni/records/spare-files.ts';

/** Mounts a file system that is full after two pages. */
function smallDisk() {
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-disk-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8k', 'tmpfs', dir]);
  const unmount = (): void => {
    execFileSync('umount', ['-l', dir]);
    rmSync(dir, { recursive: true });
  };
  return { dir, [Symbol.dispose]: unmount };
}

const isFull = ({ code }: { code: string }) => code === 'ENOSPC';

test('a full disk never leaves part of a record under its name', () => {
  using disk = smallDisk();
  const path = join(disk.dir, 'record.json');
  const spares = new SpareFiles(disk.dir);
  assert.throws(() => spares.create(path, 'x'.repeat(10_000)), isFull);
  assert.deepEqual(readdirSync(disk.dir), ['spare.0']);
  spares.create(path, 'short');
  assert.equal(readFileSync(path, 'utf8'), 'short');
});

test('a full disk leaves the record that was to be overwritten', () => {
  using disk = smallDisk();
  const path = join(disk.dir, 'record.json');
  for (const old of ['o'.repeat(600), 'o'.repeat(4096), 'o'.repeat(5000)]) {
    writeOver(path, old);
    assert.throws(() => writeOver(path, 'n'.repeat(10_000)), isFull);
    assert.equal(readFileSync(path, 'utf8'), old);
    writeOver(path, 'n'.repeat(8000));
    assert.equal(readFileSync(path, 'utf8'), 'n'.repeat(8000));
  }
});

test('characters of several bytes are written whole', () => {
  using disk = smallDisk();
  const path = join(disk.dir, 'record.json');
  for (const text of ['ü'.repeat(3000), 'ü', 'ü€'.repeat(800)]) {
    writeOver(path, text);
    assert.equal(readFileSync(path, 'utf8'), text);
  }
});
