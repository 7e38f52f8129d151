import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { readInterfaces } from '../../../src/agent/underlay/choice.ts';
import type { Host } from '../../../src/cluster/host.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../../src/linux/netlink/socket.ts';
import { NO_KERNEL } from '../../state/namespace.ts';

/** Runs `ip` commands in a new namespace and reads what its host uses. */
async function hostAfter(...commands: string[]): Promise<Host> {
  const name = `fn-host-${process.pid}`;
  const ip = (...args: string[]) => execFileSync('ip', args, { stdio: 'pipe' });
  ip('netns', 'add', name);
  try {
    for (const command of ['link set lo up', ...commands]) ip('-n', name, ...command.split(' '));
    const netlink = NetlinkSocket.open(NETLINK_ROUTE, { netns: `/run/netns/${name}` });
    try {
      return (await readInterfaces(netlink)).host;
    } finally {
      netlink.close();
    }
  } finally {
    ip('netns', 'del', name);
  }
}

function linesOf({ networks, gateways }: Host): string[] {
  const lines = networks.map(({ cidr, use, isConnected, isBridge, unsignedVia }) =>
    [
      `${cidr}: ${use}`,
      isConnected ? 'connected' : '',
      isBridge ? 'bridge' : '',
      unsignedVia ? `unsigned via ${unsignedVia}` : '',
    ]
      .filter(Boolean)
      .join(', '),
  );
  return [...lines, `gateways: ${gateways?.join(', ')}`];
}

test('a host’s networks are those of its interfaces and its routes, without what is the pods’', {
  skip: NO_KERNEL,
}, async () => {
  const found = await hostAfter(
    'link add eth0 type veth peer name wire',
    'link set wire up',
    'link set eth0 up',
    'address add 172.30.0.11/24 dev eth0',
    'address add fd77::11/64 dev eth0 nodad',
    'address add 10.9.9.1 peer 10.9.8.1/32 dev eth0',
    'address add 192.0.2.7/32 dev lo',
    'link add docker0 type bridge',
    'address add 172.17.0.1/16 dev docker0',
    'link set docker0 up',
    'route add default via 172.30.0.1',
    'route add 10.5.0.0/16 via 172.30.0.1 proto static',
    'route add unreachable 10.6.0.0/16 proto static',
    'route add 10.7.0.0/16 via 172.30.0.3',
    'route add 10.8.0.0/16 proto 186 nexthop via 172.30.0.3 nexthop via 172.30.0.4',
    '-6 route add fd55::/64 via fd77::1 proto static',
    // Ours, BIRD's, flannel's and Calico's.
    'link add cni0 type bridge',
    'address add 10.244.1.1/24 dev cni0',
    'link set cni0 up',
    'link add other type bridge',
    'link set other alias flatnet',
    'address add 10.244.9.1/24 dev other',
    'link set other up',
    'link add cali1 type veth peer name cali2',
    'link set cali1 up',
    'route add 10.244.1.7/32 dev cali1',
    'route add 10.244.2.0/24 via 172.30.0.12 proto 110',
    'route add blackhole 10.244.3.0/24 proto 111',
    'route add 10.244.4.0/24 via 172.30.0.12 proto bird',
  );
  assert.deepEqual(linesOf(found), [
    '10.5.0.0/16: a route of this host, proto static',
    '10.6.0.0/16: a route of this host, proto static',
    '10.7.0.0/16: a route of this host, proto boot, unsigned via 172.30.0.3',
    '10.8.0.0/16: a route of this host, proto bgp',
    '10.9.8.1/32: the network of eth0, connected',
    '172.17.0.0/16: the network of docker0, connected, bridge',
    '172.30.0.0/24: the network of eth0, connected',
    '192.0.2.7/32: the network of lo, connected',
    'fd55::/64: a route of this host, proto static',
    'fd77::/64: the network of eth0, connected',
    'gateways: 172.30.0.1, 172.30.0.3, 172.30.0.4, fd77::1',
  ]);
});

test('addresses on kube-proxy’s device are Services’, and the host’s all the same', {
  skip: NO_KERNEL,
}, async () => {
  const { addresses, services } = await hostAfter(
    'link add eth0 type bridge',
    'address add 172.30.0.11/24 dev eth0',
    // A bridge stands for a dummy device, which this kernel may lack. kube-proxy leaves it down.
    'link add kube-ipvs0 type bridge',
    'address add 10.96.0.10/32 dev kube-ipvs0',
    'address add 10.96.0.1/32 dev kube-ipvs0',
  );
  assert.deepEqual(services, ['10.96.0.1', '10.96.0.10']);
  assert.deepEqual([...addresses].sort(), ['10.96.0.1', '10.96.0.10', '172.30.0.11']);
  assert.equal((await hostAfter('link add eth0 type bridge')).services, undefined);
});
