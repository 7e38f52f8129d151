import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FALLBACK, installPlugins } from '../../../src/cni/shim/install.ts';

test('plugins are installed as links and replaced atomically; a foreign loopback stays', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-install-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const [shim, bin] = [join(dir, 'shim'), join(dir, 'bin')];
  const build = (version: string): void => {
    for (const name of ['shim', FALLBACK]) {
      rmSync(join(dir, name), { force: true });
      writeFileSync(join(dir, name), `${name} ${version}`);
      chmodSync(join(dir, name), 0o755);
    }
  };
  build('one');
  installPlugins(shim, bin);
  installPlugins(shim, bin);
  const inode = (path: string): number => statSync(path).ino;
  assert.deepEqual(readdirSync(bin).sort(), ['flatnet', FALLBACK, 'loopback']);
  assert.equal(inode(join(bin, 'flatnet')), inode(shim));
  assert.equal(inode(join(bin, 'loopback')), inode(shim));
  assert.equal(inode(join(bin, FALLBACK)), inode(join(dir, FALLBACK)));

  build('another');
  installPlugins(shim, bin);
  const installed = (name: string): string => readFileSync(join(bin, name), 'utf8');
  assert.deepEqual(['flatnet', 'loopback'].map(installed), ['shim another', 'shim another']);
  assert.equal(installed(FALLBACK), `${FALLBACK} another`);

  rmSync(join(bin, 'loopback'));
  writeFileSync(join(bin, 'loopback'), 'a foreign one');
  installPlugins(shim, bin);
  assert.equal(installed('loopback'), 'a foreign one');
  assert.throws(() => installPlugins(join(dir, 'none'), bin), { code: 'NOT_FOUND' });
});
