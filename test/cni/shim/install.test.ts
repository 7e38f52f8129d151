import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FALLBACK, installPlugins, removePlugins } from '../../../src/cni/shim/install.ts';

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

test('the image’s files, all equally old, are told apart by their contents; the fallback’s folder is a copy of theirs', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-install-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const [shim, bin, folder] = [join(dir, 'shim'), join(dir, 'bin'), join(dir, `${FALLBACK}.d`)];
  mkdirSync(folder);
  symlinkSync('../node', join(folder, 'node'));
  const build = (version: string): void => {
    for (const name of ['shim', FALLBACK, 'node']) {
      rmSync(join(dir, name), { force: true });
      writeFileSync(join(dir, name), `${name} ${version}`);
      utimesSync(join(dir, name), 0, 0);
    }
  };
  const installed = () =>
    ['flatnet', `${FALLBACK}.d/node`].map((name) => readFileSync(join(bin, name), 'utf8'));
  build('1');
  installPlugins(shim, bin);
  assert.deepEqual(installed(), ['shim 1', 'node 1']);
  writeFileSync(join(bin, `${FALLBACK}.d`, 'libold.so'), '');
  build('2');
  installPlugins(shim, bin);
  assert.deepEqual(installed(), ['shim 2', 'node 2']);
  assert.deepEqual(readdirSync(join(bin, `${FALLBACK}.d`)), ['node']);
  assert.equal(removePlugins(bin).length, 4);
  assert.deepEqual(readdirSync(bin), []);
});
