import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCidr } from '../../../src/ip/cidr.ts';
import type { Found, FoundAgent } from '../../../src/takeover/flannel/found.ts';
import { takeoverPlan } from '../../../src/takeover/flannel/plan.ts';
import { changes } from '../../../src/takeover/plan.ts';
import { port, reservation, result, usualNode } from './found.ts';

test('a usual node: new pods first, then the old ones, then flannel’s rules', () => {
  const plan = takeoverPlan(usualNode());
  assert.deepEqual(plan.obstacles, []);
  assert.deepEqual(
    plan.steps.map(({ action, object }) => `${action} ${object}`),
    [
      'keep lease 10.244.1.0/24',
      'keep device flannel.1',
      'keep bridge cni0',
      'keep files of flannel’s plugin',
      'move /etc/cni/net.d/10-flannel.conflist',
      'adopt pod default/web',
      'remove rules ip nat FLANNEL-POSTRTG',
      'remove rules ip filter FLANNEL-FWD',
    ],
  );
});

test('reservations of a network of another name move to ours, before its pods are adopted', () => {
  const mine = { ...reservation('10.244.1.5', 'web'), dir: '/var/lib/cni/networks/mynet' };
  const confs = usualNode().confs.map((conf, i) => (i === 0 ? { ...conf, name: 'mynet' } : conf));
  const plan = takeoverPlan(usualNode({ confs, reservations: [mine] }));
  assert.deepEqual(plan.obstacles, []);
  assert.deepEqual(
    changes(plan)
      .slice(0, 3)
      .map(({ action, object }) => `${action} ${object}`),
    [
      'move /etc/cni/net.d/10-flannel.conflist',
      'move reservations in /var/lib/cni/networks/mynet',
      'adopt pod default/web',
    ],
  );
});

test('rules that name nothing but a container that is gone stay if another network may have made them', () => {
  const chains = ['hostports', 'masquerading'];
  const rules = [
    { family: 'ip', table: 'cni_hostport', chains, leads: 0, size: 2, container: 'x', comment: 'x' },
  ] as const;
  const podman = { file: '/etc/cni/net.d/87-podman.conflist', name: 'podman', types: ['bridge', 'portmap'] };
  const last = (changed: Partial<Found>) => takeoverPlan(usualNode({ rules, ...changed })).steps.at(-1);
  const { confs } = usualNode();
  assert.equal(last({})?.action, 'remove');
  assert.equal(last({})?.object, 'rules ip cni_hostport hostports masquerading of x');
  assert.equal(last({ confs: [...confs, podman] })?.action, 'leave');
  // A runtime whose configurations are elsewhere.
  const left = last({ resultFiles: ['bridge-x-eth0'] });
  assert.equal(left?.action, 'leave');
  assert.match(left?.text ?? '', /which is none of flannel’s pods/);
});

test('a node that has been taken over has nothing left to do', () => {
  const [, ours] = usualNode().confs;
  assert.ok(ours);
  const ports = [port('veth5', ['10.244.1.5'], { isOurs: true })];
  const plan = takeoverPlan(usualNode({ confs: [ours], ports, rules: [] }));
  assert.deepEqual(plan.obstacles, []);
  assert.deepEqual(changes(plan), []);
});

test('the chain that lets pods through a firewall stays', () => {
  const [masquerade, forward] = usualNode().rules;
  assert.ok(masquerade && forward);
  const needed = 'nft chain ip filter FORWARD drops 10.244.0.0/16';
  const plan = takeoverPlan(usualNode({ rules: [masquerade, { ...forward, needed }] }));
  const [last] = plan.steps.slice(-1);
  assert.equal(last?.action, 'leave');
  assert.match(last?.text ?? '', /^pods need it: nft chain ip filter FORWARD drops/);
});

test('what cannot be read is named, and stops nothing', () => {
  const plan = takeoverPlan(usualNode({ unread: ['/var/lib/cni/results/cbr0-x: no JSON'] }));
  assert.deepEqual(plan.obstacles, []);
  assert.ok(plan.steps.some(({ action, text }) => action === 'leave' && text.endsWith('no JSON')));
});

const [FLANNELS, OURS] = usualNode().confs;
assert.ok(FLANNELS && OURS);
const delegating = (type: string, bridge: string): Partial<Found> => ({
  confs: [{ ...FLANNELS, delegate: { type, bridge } }, OURS],
});
const IN_THE_WAY: readonly (readonly [what: string, Partial<Found>, RegExp])[] = [
  ['a running flanneld', { flanneld: [7] }, /^flanneld runs \(pid 7\)/],
  [
    'an agent that is not ready',
    { agent: { notReady: 'no subnet', subnets: [], pods: [] } },
    /takes no pods: no subnet/,
  ],
  [
    'a configuration of ours that is not there yet',
    { confs: [FLANNELS] },
    /^10-flatnet\.conflist is not there/,
  ],
  ['another backend', { devices: [{ name: 'flannel-wg', kind: 'wireguard' }] }, /flannel-wg \(wireguard\)/],
  [
    'a garbled configuration',
    { confs: [{ file: 'a.conf', name: '', types: [], problem: 'no JSON' }, OURS] },
    /a\.conf/,
  ],
  [
    'a network whose name no runtime accepts',
    { confs: [{ ...FLANNELS, name: '../mynet' }, OURS] },
    /^flannel’s network is named '\.\.\/mynet'/,
  ],
  [
    'pods of which none is in sight',
    { ports: [{ name: 'veth5', mtu: 1450, hairpin: true, isOurs: false }] },
    /^none of the pods at cni0 is in sight/,
  ],
  ['pods that are not on a bridge', delegating('ptp', ''), /made by the plugin ptp/],
  ['pods on another bridge', delegating('bridge', 'br9'), /on the bridge br9/],
  [
    'another network before ours',
    { confs: [{ file: '/etc/cni/net.d/05-cilium.conflist', name: 'c', types: ['cilium-cni'] }, OURS] },
    /reads \/etc\/cni\/net\.d\/05-cilium\.conflist/,
  ],
  ['an address of a former subnet', { reservations: [reservation('10.244.9.5', 'old')] }, /10\.244\.9\.5/],
  [
    'an agent with another lease',
    { agent: { subnets: [parseCidr('10.244.7.0/24')], pods: [] } },
    /10\.244\.1\.5, reserved for web, is of none/,
  ],
];

for (const [what, found, expected] of IN_THE_WAY) {
  test(`${what} is in the way`, () => {
    const { obstacles } = takeoverPlan(usualNode(found));
    assert.equal(obstacles.length, 1, JSON.stringify(obstacles));
    assert.match(obstacles[0]?.what ?? '', expected);
    assert.ok(obstacles[0]?.fix);
  });
}

test('without an agent, the plan shows what it would do, and to start it', () => {
  const { agent: _, ...rest } = usualNode();
  const plan = takeoverPlan(rest);
  assert.match(plan.obstacles[0]?.what ?? '', /does not run/);
  assert.ok(changes(plan).length > 0);
});

const PORTMAP = {
  family: 'ip',
  table: 'nat',
  chains: ['CNI-DN-x'],
  leads: 1,
  size: 3,
  container: 'web',
} as const;
const HOST_PORTS = [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 }] as const;
const agentWith = (...pods: FoundAgent['pods']): FoundAgent => ({
  subnets: [parseCidr('10.244.1.0/24')],
  pods,
});
const RECORD = { containerId: 'web', hostPorts: HOST_PORTS };
const KNOWN = { ports: [port('veth5', ['10.244.1.5'], { isOurs: true })] };
const ABANDONED = { reservations: [], results: [], resultFiles: [], ports: [] };
const RULES_OF_PORTMAP: readonly (readonly [what: string, Partial<Found>, 'keep' | 'leave' | 'remove'])[] = [
  ['of a pod whose record has its ports go', { ...KNOWN, agent: agentWith(RECORD) }, 'remove'],
  [
    'wait until the record is there',
    { results: [{ ...result('web', 'veth5'), hostPorts: HOST_PORTS }] },
    'keep',
  ],
  [
    'of a pod whose record has no ports stay',
    { ...KNOWN, agent: agentWith({ containerId: 'web' }) },
    'leave',
  ],
  ['of a pod that is not adopted stay', { ports: [port('veth5', ['10.244.1.9'])] }, 'leave'],
  ['of nobody go', ABANDONED, 'remove'],
  [
    'of a pod that has a record only stay',
    { ...ABANDONED, agent: agentWith({ containerId: 'web' }) },
    'leave',
  ],
  [
    'stay if a reservation names nobody',
    { ...ABANDONED, reservations: [reservation('10.244.1.5', '')] },
    'leave',
  ],
  ['stay if something could not be read', { ...ABANDONED, unread: ['cbr0: EACCES'] }, 'leave'],
];

for (const [what, changed, expected] of RULES_OF_PORTMAP) {
  test(`portmap’s rules ${what}`, () => {
    const { steps } = takeoverPlan(usualNode({ ...changed, rules: [PORTMAP] }));
    assert.deepEqual(
      steps.filter(({ object }) => object.includes('CNI-DN-x')).map(({ action }) => action),
      [expected],
    );
  });
}
