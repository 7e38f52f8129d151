import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { collide, type HostPort, PORT_PROTOCOLS } from '../../src/cluster/host-port.ts';
import type { LocalPod } from '../../src/cluster/node.ts';
import { hostPortItems } from '../../src/host-ports/pods.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { keyOf } from '../../src/state/item.ts';
import { command } from '../../src/state/print.ts';

const POD: LocalPod = {
  containerId: 'a',
  ifName: 'eth0',
  labels: {},
  hostDevice: 'veth0',
  netns: '',
  addresses: ['10.0.1.5', 'fd10::5'].map(parseIp),
  subnets: ['10.0.1.0/24', 'fd10::/64'].map(parseCidr),
};
const commands = (pod: LocalPod, families: readonly (4 | 6)[] = [4, 6]): string[] =>
  hostPortItems(pod, families).map((item) => command(item, 'add'));

test('a port at all addresses is one element per family of the pod', () => {
  const web: HostPort = { protocol: 'tcp', hostPort: 8080, containerPort: 80 };
  assert.deepEqual(commands({ ...POD, hostPorts: [web] }), [
    "nft add element ip flatnet-host-ports ports '{ tcp . 8080 : 10.0.1.5 . 80 }'",
    "nft add element ip flatnet-host-ports near '{ 10.0.1.0/24 . 10.0.1.5 }'",
    "nft add element ip flatnet-host-ports near '{ 127.0.0.0/8 . 10.0.1.5 }'",
    "nft add element ip6 flatnet-host-ports ports '{ tcp . 8080 : fd10::5 . 80 }'",
    "nft add element ip6 flatnet-host-ports near '{ fd10::/64 . fd10::5 }'",
    'sysctl -w net/ipv4/conf/cni0/route_localnet=1',
  ]);
  assert.equal(commands({ ...POD, hostPorts: [web] }, [6]).length, 2);
  assert.deepEqual(commands(POD), []);
});

test('a port at one address, or at all of one family, is of that family', () => {
  const at = (hostIp: string): HostPort => ({
    protocol: 'udp',
    hostPort: 53,
    containerPort: 53,
    hostIp: parseIp(hostIp),
  });
  const maps = (hostIp: string) =>
    commands({ ...POD, hostPorts: [at(hostIp)] }).filter((line) => /ports (ports|addresses)/.test(line));
  assert.deepEqual(maps('192.0.2.1'), [
    "nft add element ip flatnet-host-ports addresses '{ 192.0.2.1 . udp . 53 : 10.0.1.5 . 53 }'",
  ]);
  assert.deepEqual(maps('::'), [
    "nft add element ip6 flatnet-host-ports ports '{ udp . 53 : fd10::5 . 53 }'",
  ]);
});

test('a routed pod is near to nobody but itself, and other plugins’ pods are reached by their device', () => {
  const hostPorts: HostPort[] = [{ protocol: 'sctp', hostPort: 9, containerPort: 9 }];
  const { subnets: _, ...bare } = POD;
  const routed = commands({ ...bare, wiring: 'routed', hostPorts });
  assert.ok(
    routed.includes("nft add element ip flatnet-host-ports near '{ 10.0.1.5 . 10.0.1.5 }'"),
    `${routed}`,
  );
  assert.ok(!routed.some((line) => line.includes('route_localnet')));
  const chained = commands({ ...POD, foreign: true, leadsVia: 'br7', hostPorts });
  assert.equal(chained.at(-1), 'sysctl -w net/ipv4/conf/br7/route_localnet=1');
});

test('property: ports that do not collide fill different slots, and those that do are of one port', () => {
  const port = fc.record(
    {
      protocol: fc.constantFrom(...PORT_PROTOCOLS),
      hostPort: fc.integer({ min: 1, max: 3 }),
      containerPort: fc.constant(80),
      hostIp: fc.constantFrom(...['0.0.0.0', '::', '192.0.2.1', '192.0.2.2', '::1'].map(parseIp)),
    },
    { requiredKeys: ['protocol', 'hostPort', 'containerPort'] },
  );
  const slots = (hostPort: HostPort) =>
    hostPortItems({ ...POD, hostPorts: [hostPort] }, [4, 6])
      .map(keyOf)
      .filter((key) => /flatnet-host-ports (ports|addresses) /.test(key));
  fc.assert(
    fc.property(port, port, (a, b) => {
      const shared = slots(a).some((slot) => slots(b).includes(slot));
      assert.equal(collide(a, b), collide(b, a));
      if (shared) assert.ok(collide(a, b));
      if (collide(a, b)) assert.deepEqual([a.protocol, a.hostPort], [b.protocol, b.hostPort]);
    }),
  );
});
