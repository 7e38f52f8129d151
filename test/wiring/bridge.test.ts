import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Family } from '../../src/ip/address.ts';
import { macFromSeed } from '../../src/ip/mac.ts';
import { command } from '../../src/state/print.ts';
import { bridge } from '../../src/wiring/bridge.ts';
import type { WiringFacts } from '../../src/wiring/wiring.ts';
import { type Plan, selfOf } from '../backends/cluster.ts';

const facts = (families: readonly Family[], mtu: number): WiringFacts => ({
  self: selfOf(PLAN, 0),
  families,
  mtu,
});

const PLAN: Plan = { size: 1, families: [4, 6], backend: { Type: 'vxlan' }, networks: 1 };

test('the bridge has the first address of each subnet and a MAC of its own', () => {
  const commands = bridge.node(facts([4, 6], 1430)).map((item) => command(item, 'add'));
  assert.match(
    commands[0] ?? '',
    /^ip link add cni0 mtu 1430 address [0-9a-f]{2}(:[0-9a-f]{2}){5} type bridge/,
  );
  assert.deepEqual(commands.slice(1), [
    'ip address replace 10.0.1.1/24 dev cni0',
    'ip address replace fd10:0:0:1::1/64 dev cni0 nodad',
    'sysctl -w net/ipv4/ip_forward=1',
    'sysctl -w net/ipv4/conf/eth0/forwarding=1',
    'sysctl -w net/ipv6/conf/eth0/accept_ra=2',
    'sysctl -w net/ipv6/conf/all/forwarding=1',
    'sysctl -w net/ipv6/conf/eth0/disable_ipv6=0',
    'sysctl -w net/ipv6/conf/eth0/forwarding=1',
    'sysctl -w net/ipv4/conf/cni0/forwarding=1',
    'sysctl -w net/ipv4/conf/cni0/accept_redirects=0',
    'sysctl -w net/ipv6/conf/cni0/disable_ipv6=0',
    'sysctl -w net/ipv6/conf/cni0/forwarding=1',
    'sysctl -w net/ipv6/conf/cni0/accept_ra=0',
    'sysctl -w net/ipv6/conf/cni0/accept_redirects=0',
    'sysctl -w net/ipv4/conf/cni0/arp_notify=1',
    'sysctl -w net/ipv6/conf/cni0/ndisc_notify=1',
    'sysctl -w net/ipv6/conf/cni0/accept_dad=0',
  ]);
  const again = bridge.node(facts([4, 6], 1430)).map((item) => command(item, 'add'));
  assert.deepEqual(again, commands, 'the same MAC each time');
});

test('without IPv6 nothing of it is set up, but no pod can announce itself as a router', () => {
  const commands = bridge.node(facts([4], 1450)).map((item) => command(item, 'add'));
  assert.deepEqual(
    commands.filter((text) => /v6|fd10/.test(text)),
    ['sysctl -w net/ipv6/conf/cni0/accept_ra=0', 'sysctl -w net/ipv6/conf/cni0/accept_redirects=0'],
  );
});

test("a pod's host end is a port of the bridge with hairpin", () => {
  const pod = {
    containerId: 'c',
    labels: {},
    ifName: 'eth0',
    hostDevice: 'veth7',
    netns: '/n',
    addresses: [],
  };
  assert.deepEqual(
    bridge.pod(pod, facts([4], 1450)).map((item) => command(item, 'add')),
    [
      `ip link set veth7 mtu 1450 address ${macFromSeed('veth7 host')} master cni0 up && ip link set veth7 type bridge_slave state 3 hairpin on learning on flood on mcast_flood on bcast_flood on isolated off locked off neigh_suppress off proxy_arp off guard off root_block off vlan_tunnel off`,
      'sysctl -w net/ipv6/conf/veth7/accept_ra=0',
    ],
  );
});
