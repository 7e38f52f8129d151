import assert from 'node:assert/strict';
import { test } from 'node:test';
import { publishedNode } from '../../src/agent/published.ts';
import { type Network, readNetwork } from '../../src/cluster/network.ts';
import type { Underlay } from '../../src/cluster/node.ts';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { tunnelMacsOf } from '../backends/tunnel-macs.ts';

const underlay: Underlay = {
  dev: 'eth0',
  mtu: 1500,
  addresses: { 4: parseIp('172.30.0.11'), 6: parseIp('fd77::11') },
  onLink: [],
};
const options = { node: 'node1', labels: { zone: 'a' } };
const known = { underlay, tunnelMacs: tunnelMacsOf('node1'), subnets: [], resources: NO_RESOURCES };
const dual: Network = readNetwork({
  Network: '10.244.0.0/16',
  EnableIPv6: true,
  IPv6Network: 'fd00:10::/48',
});

test('peers learn name, labels, addresses and the backend’s data', () => {
  const subnets = [parseCidr('10.244.1.0/24'), parseCidr('fd00:10:0:1::/64')];
  const node = publishedNode(options, { ...known, network: dual, subnets });
  assert.deepEqual(
    { ...node, backend: node.backend.type },
    {
      name: 'node1',
      labels: { zone: 'a' },
      addresses: { 4: '172.30.0.11', 6: 'fd77::11' },
      subnets,
      backend: 'vxlan',
    },
  );
  for (const family of [4, 6] as const) {
    // flannel parses this text with string functions: exactly two keys, in this order.
    assert.match(JSON.stringify(node.backend.data[family]), /^\{"VNI":1,"VtepMAC":"[0-9a-f:]{17}"\}$/);
  }
});

test('a configured public address takes precedence over the interface’s own', () => {
  const node = publishedNode({ ...options, publicIp: parseIp('198.51.100.7') }, { ...known, network: dual });
  assert.deepEqual(node.addresses, { 4: '198.51.100.7', 6: 'fd77::11' });
});

test('peers learn other addresses of the interface, from which packets may come', () => {
  const behindNat = publishedNode(
    { ...options, publicIp: parseIp('198.51.100.7') },
    { ...known, network: dual, underlay: { ...underlay, senders: [parseIp('172.30.0.12')] } },
  );
  assert.deepEqual(behindNat.senders, ['172.30.0.11', '172.30.0.12']);
  const plain = publishedNode(options, { ...known, network: readNetwork({ Network: '10.244.0.0/16' }) });
  assert.equal(plain.senders, undefined, 'nor those of a family without pods');
});

test('only families in use are published, but IPv4 always: flannel knows nodes by it', () => {
  const one = publishedNode(options, { ...known, network: readNetwork({ Network: '10.244.0.0/16' }) });
  assert.deepEqual(Object.keys(one.addresses), ['4']);
  const six = { EnableIPv4: false, EnableIPv6: true, IPv6Network: 'fd00:10::/48' };
  const node = publishedNode(options, { ...known, network: readNetwork(six) });
  assert.deepEqual(Object.keys(node.addresses), ['4', '6']);
  assert.deepEqual(Object.keys(node.backend.data), ['6']);
});

test('the text changes only when the facts do', () => {
  const text = () =>
    JSON.stringify(
      publishedNode(options, { ...known, network: dual, underlay: { ...underlay, mtu: Math.random() } }),
    );
  assert.equal(text(), text());
});
