import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeAttachment } from '../../../src/cni/records/record.ts';
import { parseMac } from '../../../src/ip/mac.ts';
import type { FoundResult } from '../../../src/takeover/flannel/found.ts';
import { matchPods, recordOf } from '../../../src/takeover/flannel/pods.ts';
import { MAC, port, reservation, result, usualNode } from './found.ts';

test('a pod is found by what the runtime remembers of it', () => {
  const { adoptions, left } = matchPods(usualNode());
  assert.deepEqual(left, []);
  const [pod] = adoptions;
  assert.deepEqual(
    [pod?.containerId, pod?.hostDevice, pod?.addresses, pod?.isMacCertain, pod?.namespace, pod?.name],
    ['web', 'veth5', ['10.244.1.5'], true, 'default', 'web'],
  );
});

test('a pod that shows a neighbour’s address does not become that neighbour', () => {
  const ports = [port('veth5', ['10.244.1.5']), port('veth6', ['10.244.1.6', '10.244.1.5'])];
  const reservations = [reservation('10.244.1.5', 'web'), reservation('10.244.1.6', 'thief')];
  const remembered = matchPods(usualNode({ ports, reservations }));
  assert.deepEqual(
    remembered.adoptions.map(({ containerId, hostDevice }) => `${containerId} ${hostDevice}`),
    ['web veth5', 'thief veth6'],
  );
  const forgotten = matchPods(usualNode({ ports, reservations, results: [] }));
  assert.deepEqual(
    forgotten.adoptions.map(({ containerId }) => containerId),
    ['thief'],
  );
  assert.ok(forgotten.left.some(({ why }) => why === 'not adopted: veth5 and veth6 both show it'));
});

test('what is remembered of a device is not believed without the address there', () => {
  const { adoptions, left } = matchPods(usualNode({ ports: [port('veth5', ['10.244.1.9'])] }));
  assert.deepEqual(adoptions, []);
  assert.deepEqual(
    left.map(({ why }) => why),
    [
      'stays reserved: no pod in sight has it',
      'no reservation leads to this port of the bridge: neither guarded nor freed',
    ],
  );
});

test('a MAC that only the pod shows is not certain', () => {
  const [pod] = matchPods(usualNode({ results: [] })).adoptions;
  assert.equal(pod?.mac, MAC);
  assert.equal(pod?.isMacCertain, false);
  assert.ok(pod && decodeAttachment(JSON.stringify(recordOf(pod))).lost?.includes('mac'));
});

test('the MAC that the runtime remembers counts, not one that the pod has taken since', () => {
  const mac = parseMac('5a:00:00:00:00:99');
  const [pod] = matchPods(usualNode({ results: [{ ...result('web', 'veth5'), mac }] })).adoptions;
  assert.deepEqual([pod?.mac, pod?.shownMac, pod?.isMacCertain], [mac, MAC, true]);
  const record = pod && decodeAttachment(JSON.stringify(recordOf(pod)));
  assert.deepEqual([record?.mac, record?.lost], [mac, undefined]);
});

test('a pod that the runtime does not remember yet waits until its ADD is over', () => {
  const isNew = (results: readonly FoundResult[], made: boolean) =>
    matchPods(usualNode({ results, reservations: [reservation('10.244.1.5', 'web', 'eth0', made)] }))
      .adoptions[0]?.isNew;
  assert.deepEqual(
    [isNew([], true), isNew([], false), isNew([result('web', 'veth5')], true)],
    [true, false, false],
  );
});

test('reservations of both families are one pod’s; files without an owner or an interface are kept', () => {
  const reservations = [
    reservation('10.244.1.5', 'web', ''),
    reservation('fd00::5', 'web', ''),
    reservation('10.244.1.7', ''),
  ];
  const ports = [port('veth5', ['10.244.1.5', 'fd00::5'])];
  const { adoptions, left } = matchPods(usualNode({ reservations, ports }));
  assert.deepEqual(adoptions[0]?.addresses, ['10.244.1.5', 'fd00::5']);
  assert.equal(adoptions[0]?.ifName, 'eth0');
  assert.deepEqual(left, [
    { object: '10.244.1.7', why: 'stays reserved: its file in /var/lib/cni/networks/cbr0 names no pod' },
  ]);
});

test('a stale reservation of one of a pod’s addresses, which keeps its own from being moved, does not make the pod another', () => {
  const flannels = { dir: '/var/lib/cni/networks/my-flannel' };
  const reservations = [
    reservation('fd00::5', 'gone'),
    { ...reservation('10.244.1.5', 'web'), ...flannels },
    { ...reservation('fd00::5', 'web'), ...flannels },
  ];
  const ports = [port('veth5', ['10.244.1.5', 'fd00::5'])];
  const certain = matchPods(usualNode({ reservations, ports }));
  assert.deepEqual(
    certain.adoptions.map(({ containerId, addresses }) => [containerId, ...addresses]),
    [['web', '10.244.1.5', 'fd00::5']],
  );
  assert.deepEqual(certain.left, [{ object: 'gone fd00::5', why: 'stays reserved: no pod in sight has it' }]);
  // Without the runtime's memory, either may be right.
  const unknown = matchPods(usualNode({ reservations, ports, results: [] }));
  assert.deepEqual(unknown.adoptions, []);
  const why = 'not adopted: the reservations of gone and web lead to veth5';
  assert.deepEqual(unknown.left, [
    { object: 'gone fd00::5', why },
    { object: 'web 10.244.1.5 fd00::5', why },
  ]);
});

test('a pod with a record is known, and adopted no more', () => {
  const { adoptions, known, left } = matchPods(
    usualNode({ ports: [port('veth5', ['10.244.1.5'], { isOurs: true })] }),
  );
  assert.deepEqual([adoptions, known, left], [[], ['default/web'], []]);
});

test('the proposed record is one that can be read', () => {
  const hostPorts = [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 }] as const;
  const [pod] = matchPods(usualNode({ results: [{ ...result('web', 'veth5'), hostPorts }] })).adoptions;
  assert.ok(pod);
  const record = decodeAttachment(JSON.stringify(recordOf(pod)));
  assert.deepEqual(record.hostPorts, hostPorts);
  assert.equal(record.network, 'cbr0');
  assert.equal(record.mac, MAC);
  assert.equal(record.lost, undefined);
});
