import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { CONF_LIST_FILE, renderConfList, writeConfList } from '../../../src/cni/protocol/conflist.ts';
import { loadConfList, readConfList } from '../../../src/runtime/conf-list.ts';

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-conflist-'));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

const TEXT = renderConfList({ socket: '/run/flatnet/agent.sock', stateDir: '/var/lib/flatnet' });

test('old and new runtimes can read the list', (t) => {
  const dir = folder(t);
  writeConfList(join(dir, 'net.d'), TEXT);
  const list = loadConfList(join(dir, 'net.d'));
  assert.deepEqual([list.name, list.cniVersion], ['cbr0', '1.1.0']);
  assert.equal(JSON.parse(TEXT).cniVersion, '1.0.0', 'used by a libcni that predates cniVersions');
  assert.deepEqual(list.plugins, [
    {
      type: 'flatnet',
      socket: '/run/flatnet/agent.sock',
      stateDir: '/var/lib/flatnet',
      capabilities: {
        ips: true,
        mac: true,
        portMappings: true,
        bandwidth: true,
        'io.kubernetes.cri.pod-annotations': true,
      },
    },
  ]);
});

test('it is replaced atomically, and only when it changes', (t) => {
  const dir = folder(t);
  assert.equal(writeConfList(dir, TEXT), true);
  const before = statSync(join(dir, CONF_LIST_FILE));
  assert.equal(writeConfList(dir, TEXT), false);
  assert.equal(statSync(join(dir, CONF_LIST_FILE)).ino, before.ino);
  assert.equal(writeConfList(dir, TEXT.replace('/run/', '/srv/')), true);
  assert.notEqual(statSync(join(dir, CONF_LIST_FILE)).ino, before.ino, 'replaced, not overwritten');
  assert.deepEqual(readdirSync(dir), [CONF_LIST_FILE]);
});

test('the first file by name defines the network; a malformed one is an error', (t) => {
  const dir = folder(t);
  assert.throws(() => loadConfList(dir), { code: 'NOT_FOUND' });
  writeFileSync(join(dir, '05-notes.txt'), 'not a configuration');
  writeFileSync(join(dir, '20-other.conf'), '{"name":"other","type":"ptp"}');
  assert.equal(loadConfList(dir).name, 'other');
  writeConfList(dir, TEXT);
  assert.equal(loadConfList(dir).name, 'cbr0');
  writeFileSync(join(dir, '00-broken.conflist'), '{');
  assert.throws(() => loadConfList(dir), { code: 'CONFIG_INVALID' });
  assert.throws(() => readConfList({ name: 'x', cniVersion: '9.9.9', plugins: [] }), /cniVersion/);
});
