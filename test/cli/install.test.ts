import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { NO_SHIM } from '../cni/shim.ts';

const FLATNET = resolve(import.meta.dirname, '../../bin/flatnet');

test('install and uninstall change only what is ours; only an upgrade writes the network configuration', {
  skip: NO_SHIM,
}, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [bin, conf] = [join(folder, 'bin'), join(folder, 'net.d')];
  const places = ['--cni-bin-dir', bin, '--cni-conf-dir', conf];
  const flatnet = (command: string, ...args: string[]): string =>
    execFileSync(FLATNET, [command, ...places, ...args], { encoding: 'utf8' });
  for (const dir of [bin, conf]) mkdirSync(dir);
  writeFileSync(join(bin, 'bridge'), 'another plugin');
  writeFileSync(join(conf, '99-other.conflist'), '{}');

  flatnet('install');
  const plugins = ['bridge', 'flatnet', 'flatnet-fallback', 'flatnet.json', 'loopback'];
  assert.deepEqual(readdirSync(bin).sort(), plugins);
  assert.deepEqual(readdirSync(conf), ['99-other.conflist']);
  assert.ok((statSync(join(bin, 'flatnet')).mode & 0o111) === 0o111);

  writeFileSync(join(conf, '10-flatnet.conflist'), 'of an older version');
  flatnet('install', '--run-dir', '/run/other');
  assert.match(readFileSync(join(conf, '10-flatnet.conflist'), 'utf8'), /"\/run\/other\/agent\.sock"/);

  const { removed } = JSON.parse(flatnet('uninstall', '--json')) as { readonly removed: readonly string[] };
  assert.equal(removed.length, 5);
  assert.deepEqual([...readdirSync(bin), ...readdirSync(conf)], ['bridge', '99-other.conflist']);
  assert.match(flatnet('uninstall'), /nothing/);
});
