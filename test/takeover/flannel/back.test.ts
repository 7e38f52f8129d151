import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCidr, parsePrefixed } from '../../../src/ip/cidr.ts';
import { backPlan, type FoundBack, type OurPod } from '../../../src/takeover/flannel/back.ts';
import { changes } from '../../../src/takeover/plan.ts';

const POD: OurPod = {
  containerId: 'c1',
  ifName: 'eth0',
  namespace: 'default',
  name: 'web',
  dir: '/var/lib/cni/networks/cbr0',
  addresses: [parsePrefixed('10.244.1.5/24')],
  bridge: 'cni0',
  mtu: 1450,
  hasHostPorts: false,
};

const OURS = '/var/lib/cni/networks/cbr0';
const MASQUERADE = { family: 'ip', table: 'nat', chains: ['FLANNEL-POSTRTG'], leads: 1, size: 3 } as const;

function ready(changed: Partial<FoundBack> = {}): FoundBack {
  return {
    isAgentRunning: false,
    flanneld: [7],
    subnets: [parseCidr('10.244.1.0/24')],
    rules: [MASQUERADE],
    missingPlugins: [],
    confs: [{ file: '/etc/cni/net.d/10-flatnet.conflist', name: 'cbr0', types: ['flatnet'] }],
    setAside: ['/etc/cni/net.d/10-flannel.conflist.before-flatnet'],
    usualConf: '/etc/cni/net.d/10-flannel.conflist',
    pods: [POD],
    noted: [],
    damaged: [],
    scratchDir: '/var/lib/cni/flannel',
    scratch: [],
    reservations: { dir: OURS, count: 1, flannels: OURS },
    tables: [{ family: 'ip', table: 'flatnet-masquerade' }],
    ...changed,
  };
}

test('flannel’s plugin learns of our pods, then gets new ones, and our tables go last', () => {
  const plan = backPlan(ready());
  assert.deepEqual(plan.obstacles, []);
  assert.deepEqual(
    changes(plan).map(({ action, object }) => `${action} ${object}`),
    [
      'write pod default/web',
      'move /etc/cni/net.d/10-flannel.conflist',
      'remove /etc/cni/net.d/10-flatnet.conflist',
      'remove table ip flatnet-masquerade',
    ],
  );
});

test('its file for a pod leads to the reservation', () => {
  const [step] = changes(backPlan(ready()));
  assert.ok(step?.action === 'write');
  assert.equal(step.file, '/var/lib/cni/flannel/c1');
  const { name, type, bridge, ipam } = JSON.parse(JSON.stringify(step.content));
  assert.deepEqual([name, type, bridge], ['cbr0', 'bridge', 'cni0']);
  assert.deepEqual(ipam, {
    type: 'host-local',
    dataDir: '/var/lib/cni/networks',
    ranges: [[{ subnet: '10.244.1.0/24' }]],
  });
});

test('reservations return to flannel’s network before it makes pods again', () => {
  const flannels = '/var/lib/cni/networks/mynet';
  const [file, move, conf] = changes(backPlan(ready({ reservations: { dir: OURS, count: 1, flannels } })));
  assert.ok(file?.action === 'write');
  assert.equal(JSON.parse(JSON.stringify(file.content)).name, 'mynet');
  assert.deepEqual([move?.action, move?.object], ['move', `reservations in ${OURS}`]);
  assert.equal(conf?.object, '/etc/cni/net.d/10-flannel.conflist');
});

test('a node that has been given back has nothing left to do', () => {
  const confs = [{ file: '/etc/cni/net.d/10-flannel.conflist', name: 'cbr0', types: ['flannel', 'portmap'] }];
  const plan = backPlan(ready({ confs, setAside: [], scratch: ['c1'], tables: [] }));
  assert.deepEqual([plan.obstacles, changes(plan)], [[], []]);
});

test('without a configuration set aside, the usual one is written', () => {
  const step = changes(backPlan(ready({ setAside: [] })))[1];
  assert.ok(step?.action === 'write');
  assert.equal(step.file, '/etc/cni/net.d/10-flannel.conflist');
});

test('records that cannot be read are named', () => {
  const { steps } = backPlan(ready({ damaged: ['cbr0.c2.eth0.json'] }));
  assert.ok(steps.some(({ action, object }) => action === 'leave' && object === 'cbr0.c2.eth0.json'));
});

test('host ports that end are named', () => {
  const { steps } = backPlan(ready({ pods: [{ ...POD, hasHostPorts: true }] }));
  assert.ok(steps.some(({ action, text }) => action === 'leave' && /host ports end/.test(text)));
});

const { bridge: _, ...ROUTED } = POD;
const IN_THE_WAY: readonly (readonly [string, Partial<FoundBack>, RegExp])[] = [
  ['a running agent', { isAgentRunning: true }, /^flatnet’s agent runs/],
  ['no flanneld', { flanneld: [], rules: [] }, /^flanneld does not run/],
  ['a flanneld without rules', { rules: [] }, /^flanneld has not written/],
  [
    'only the chain that a takeover has left',
    { rules: [{ family: 'ip', table: 'filter', chains: ['FLANNEL-FWD'], leads: 1, size: 2 }] },
    /^flanneld has not written/,
  ],
  ['an empty chain', { rules: [{ ...MASQUERADE, size: 0 }] }, /^flanneld has not written/],
  ['a chain that nothing leads to', { rules: [{ ...MASQUERADE, leads: 0 }] }, /^flanneld has not written/],
  [
    'rules of one of two families',
    { subnets: [parseCidr('10.244.1.0/24'), parseCidr('fd00:1::/64')] },
    /^flanneld has not written/,
  ],
  ['missing plugins', { missingPlugins: ['/opt/cni/bin/flannel'] }, /\/opt\/cni\/bin\/flannel/],
  ['a routed pod', { pods: [ROUTED] }, /^pod default\/web is not on the bridge/],
];

test('flannel’s nftables tables do, too, one for each family', () => {
  const table = (family: 'ip' | 'ip6', name: string) => ({ family, table: name, leads: 0, size: 3 });
  const rules = [table('ip', 'flannel-ipv4'), table('ip6', 'flannel-ipv6')];
  const subnets = [parseCidr('10.244.1.0/24'), parseCidr('fd00:1::/64')];
  assert.deepEqual(backPlan(ready({ rules, subnets })).obstacles, []);
});

for (const [what, found, expected] of IN_THE_WAY) {
  test(`${what} is in the way back`, () => {
    const { obstacles } = backPlan(ready(found));
    assert.equal(obstacles.length, 1);
    assert.match(obstacles[0]?.what ?? '', expected);
  });
}

test('a pod that was deleted while no agent ran is freed, and flannel’s plugin learns nothing of it', () => {
  const state = '/var/lib/flatnet';
  const note = { file: `${state}/deleted/1.json`, state, containerId: 'c1', ifName: 'eth0' };
  const unknown = { ...note, file: `${state}/deleted/2.json`, containerId: 'c2' };
  const steps = changes(backPlan(ready({ noted: [note, unknown] })));
  assert.deepEqual(steps.map(({ action, object }) => `${action} ${object}`).slice(0, 3), [
    'remove reservations of default/web',
    'remove reservations of c2',
    'move /etc/cni/net.d/10-flannel.conflist',
  ]);
  assert.deepEqual(
    steps.flatMap((step) => ('noted' in step ? step.dir : [])),
    [OURS, OURS],
  );
});
