import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type HostNetwork, NO_HOST } from '../../src/cluster/host.ts';
import { readNetwork } from '../../src/cluster/network.ts';
import type { Node } from '../../src/cluster/node.ts';
import { overlapWithHost } from '../../src/cluster/overlap.ts';
import { type IpPool, NO_RESOURCES, type Resources } from '../../src/cluster/resources.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';

const NETWORK = readNetwork({ Network: '10.244.0.0/16', EnableIPv6: true, IPv6Network: 'fd10::/56' });
const PEER: Node = {
  name: 'peer',
  labels: {},
  addresses: { 4: parseIp('192.168.0.2') },
  subnets: [parseCidr('10.244.2.0/24')],
  backend: { type: 'vxlan', data: {} },
};

function overlap(networks: readonly HostNetwork[], resources: Resources = NO_RESOURCES): string | undefined {
  const subnets = [parseCidr('10.244.1.0/24')];
  const host = { addresses: [], networks };
  const found = overlapWithHost({ host, network: NETWORK, resources, nodes: [PEER], subnets });
  return found && `${found.cidr} ${found.other} ${found.use}`;
}

const connected = (cidr: string, isBridge = false): HostNetwork => ({
  cidr: parseCidr(cidr),
  use: 'the network of eth1',
  isConnected: true,
  isBridge,
});
const routed = (cidr: string, via?: string): HostNetwork => ({
  cidr: parseCidr(cidr),
  use: 'a route',
  isConnected: false,
  ...(via !== undefined && { unsignedVia: parseIp(via) }),
});

test('whatever an interface is connected to must lie outside the pods’ networks', () => {
  for (const cidr of ['10.244.0.0/16', '10.244.77.0/24', '10.0.0.0/8', '10.244.9.9/32', '10.244.2.0/24']) {
    assert.equal(overlap([connected(cidr)]), `10.244.0.0/16 ${cidr} the network of eth1`);
    if (cidr !== '10.0.0.0/8') assert.ok(overlap([connected(cidr, true)]));
  }
  assert.ok(overlap([connected('fd10:0:0:7::/64')]));
  for (const cidr of ['172.17.0.0/16', '10.243.0.0/16', 'fd11::/64']) {
    assert.equal(overlap([connected(cidr, true)]), undefined);
  }
  // Another plugin's bridge, with pods of this node.
  assert.equal(overlap([connected('10.244.1.0/24', true)]), undefined);
  assert.ok(overlap([connected('10.244.1.0/24')]));
});

test('so must what it has routes to, except for wider ones and those to pods', () => {
  assert.equal(overlap([routed('10.244.77.0/24')]), '10.244.0.0/16 10.244.77.0/24 a route');
  assert.ok(overlap([routed('10.244.77.0/24', '192.168.0.9')]));
  assert.ok(overlap([routed('10.244.0.0/16')]));
  for (const wider of ['10.0.0.0/8', '0.0.0.0/1', 'fd00::/8'])
    assert.equal(overlap([routed(wider)]), undefined);
  assert.equal(overlap([routed('10.244.2.0/24')]), undefined, 'a peer’s subnet, learnt from a router');
  assert.equal(overlap([routed('10.244.2.7/32')]), undefined);
  assert.equal(overlap([routed('10.244.77.0/24', '192.168.0.2')]), undefined, 'left by flannel');
});

test('and so must the Services; a disabled pool gives out no addresses', () => {
  const services: Resources = {
    ...NO_RESOURCES,
    bgpConfiguration: { ...NO_RESOURCES.bgpConfiguration, serviceCidrs: [parseCidr('10.244.128.0/20')] },
  };
  assert.equal(overlap([], services), '10.244.0.0/16 10.244.128.0/20 a network of Services');
  const said = readNetwork({ Network: '10.244.0.0/16', serviceNetworks: ['10.96.0.0/12', '10.244.9.0/24'] });
  assert.deepEqual(
    overlapWithHost({ host: NO_HOST, network: said, resources: NO_RESOURCES, nodes: [], subnets: [] }),
    { cidr: '10.244.0.0/16', other: '10.244.9.0/24', use: 'a network of Services' },
  );
  const network = readNetwork({
    Network: '10.244.0.0/16',
    addresses: 'blocks',
    wiring: 'routed',
    Backend: { Type: 'bgp' },
  });
  const pool = (disabled: boolean): IpPool => ({
    name: 'p',
    cidr: parseCidr('192.168.0.0/16'),
    blockSize: 26,
    disabled,
    disableBgpExport: false,
    natOutgoing: true,
    ipipMode: 'Never',
    nodeSelector: 'all()',
    assignmentMode: 'Automatic',
  });
  const host = { addresses: [], networks: [connected('192.168.0.0/24')] };
  const facts = { host, network, nodes: [], subnets: [] };
  const withPool = (disabled: boolean): Resources => ({ ...NO_RESOURCES, ipPools: [pool(disabled)] });
  assert.ok(overlapWithHost({ ...facts, resources: withPool(false) }));
  assert.equal(overlapWithHost({ ...facts, resources: withPool(true) }), undefined);
});
