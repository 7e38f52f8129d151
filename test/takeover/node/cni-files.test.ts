import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readConfs, readReservations, readResults, restOfAdd } from '../../../src/takeover/node/cni-files.ts';

function folder(t: TestContext, files: Readonly<Record<string, string>>): string {
  const dir = mkdtempSync(join(tmpdir(), 'flatnet-takeover-files-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(dir, name, '..'), { recursive: true });
    writeFileSync(join(dir, name), text);
  }
  return dir;
}

/** What libcni writes after an ADD by flannel's configuration. */
const RESULT = {
  kind: 'cniCacheV1',
  containerId: 'web',
  ifName: 'eth0',
  networkName: 'cbr0',
  netns: '/var/run/netns/cni-1',
  cniArgs: [
    ['IgnoreUnknown', '1'],
    ['K8S_POD_NAMESPACE', 'default'],
    ['K8S_POD_NAME', 'web-1'],
  ],
  capabilityArgs: {
    portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '' }],
    bandwidth: { ingressRate: 1, ingressBurst: 1, egressRate: 1, egressBurst: 1 },
  },
  result: {
    cniVersion: '0.3.1',
    interfaces: [
      { name: 'cni0', mac: 'ea:93:2c:fb:2d:ad' },
      { name: 'veth093ca865', mac: 'a2:de:18:48:17:56' },
      { name: 'eth0', mac: 'a2:93:32:60:97:95', sandbox: '/var/run/netns/cni-1' },
    ],
    ips: [{ version: '4', interface: 2, address: '10.244.67.2/24', gateway: '10.244.67.1' }],
    dns: {},
  },
};

test('what the runtime remembers of an ADD is read', (t) => {
  const dir = folder(t, { 'cbr0-web-eth0': JSON.stringify(RESULT), 'other-x-eth0': '' });
  const unread: string[] = [];
  assert.deepEqual(readResults(dir, ['cbr0'], unread), [
    {
      containerId: 'web',
      ifName: 'eth0',
      hostDevice: 'veth093ca865',
      mac: 'a2:93:32:60:97:95',
      namespace: 'default',
      podName: 'web-1',
      hostPorts: [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 }],
      isLimited: true,
    },
  ]);
  assert.deepEqual(unread, []);
});

test('garbage that the runtime remembers is named, and stops nothing', (t) => {
  const garbage = {
    'cbr0-a-eth0': '',
    'cbr0-b-eth0': '[]',
    'cbr0-c-eth0': '{"containerId": 7}',
    'cbr0-d-eth0': '{"result": {"interfaces": 7}}',
    'cbr0-e-eth0': JSON.stringify({ ...RESULT, capabilityArgs: { portMappings: [{ hostPort: 'x' }] } }),
  };
  const dir = folder(t, { ...garbage, 'cbr0-web-eth0': JSON.stringify(RESULT) });
  mkdirSync(join(dir, 'cbr0-f-eth0'));
  const unread: string[] = [];
  assert.deepEqual(
    readResults(dir, ['cbr0'], unread).map(({ containerId }) => containerId),
    ['web'],
  );
  assert.equal(unread.length, Object.keys(garbage).length + 1);
});

test('reservations are read and none is lost, whatever is in the folder', (t) => {
  const files = {
    'cbr0/10.244.1.5': 'web\r\neth0',
    'cbr0/10.244.1.6': '',
    'cbr0/10.244.1.7': '\0\0 no owner \n\n',
    'cbr0/last_reserved_ip.0': 'rubbish',
    'cbr0/lock': '',
  };
  const dir = folder(t, { ...files, garbled: 'a file' });
  mkdirSync(join(dir, 'cbr0', '10.244.1.8'));
  const unread: string[] = [];
  const found = readReservations(dir, ['cbr0', 'garbled', 'absent'], unread);
  assert.deepEqual(
    found.map(({ ip, containerId }) => `${ip} ${containerId}`),
    ['10.244.1.5 web', '10.244.1.6 ', '10.244.1.7 ', '10.244.1.8 '],
  );
  assert.equal(unread.length, 1);
  const names = [...Object.keys(files).map((name) => name.slice(5)), '10.244.1.8'];
  assert.deepEqual(readdirSync(join(dir, 'cbr0')).toSorted(), names.toSorted());
  assert.deepEqual(readdirSync(dir).toSorted(), ['cbr0', 'garbled']);
});

test('a reservation is new for as long as its ADD may run, and not if its time lies ahead', (t) => {
  const dir = folder(t, { 'cbr0/10.244.1.5': 'a', 'cbr0/10.244.1.6': 'b', 'cbr0/10.244.1.7': 'c' });
  const now = Date.now() / 1000;
  utimesSync(join(dir, 'cbr0', '10.244.1.6'), now, now - 60);
  utimesSync(join(dir, 'cbr0', '10.244.1.7'), now, now + 600);
  const found = readReservations(dir, ['cbr0'], []);
  assert.deepEqual(
    found.map(({ containerId, isNew }) => [containerId, isNew]),
    [
      ['a', true],
      ['b', false],
      ['c', false],
    ],
  );
  const rest = restOfAdd(join(dir, 'cbr0', '10.244.1.5'));
  assert.ok(rest > 0 && rest <= 30_000, `${rest}`);
  assert.equal(restOfAdd(join(dir, 'cbr0', '10.244.1.6')), 0);
});

test('configurations are read in the runtime’s order, and what is wrong with one is said', (t) => {
  const flannel = {
    name: 'cbr0',
    plugins: [{ type: 'flannel', delegate: { bridge: 'br1' } }, { type: 'portmap' }],
  };
  const dir = folder(t, {
    '20-x.conflist': '{',
    '10-flannel.conflist': JSON.stringify(flannel),
    '05-single.conf': '{"name": "n", "type": "ptp"}',
    README: '',
  });
  const [first, second, third, ...more] = readConfs(dir);
  assert.deepEqual([first?.types, first?.delegate], [['ptp'], undefined]);
  assert.deepEqual(
    [second?.types, second?.delegate],
    [['flannel', 'portmap'], { type: 'bridge', bridge: 'br1' }],
  );
  assert.ok(third?.problem);
  assert.deepEqual(more, []);
});
