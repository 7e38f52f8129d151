import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refusedSource, sourceRules } from '../../src/cluster/allowed-sources.ts';
import { readNetwork } from '../../src/cluster/network.ts';
import type { Node } from '../../src/cluster/node.ts';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';

const POOLS = { Network: '10.244.0.0/16', EnableIPv6: true, IPv6Network: 'fd10::/56' };
const NODE: Node = {
  name: 'n1',
  labels: {},
  addresses: { 4: parseIp('192.168.0.2') },
  senders: [parseIp('192.168.1.2')],
  subnets: [parseCidr('10.7.2.0/24')],
  backend: { type: 'vxlan', data: {} },
};
const HOST = { addresses: [parseIp('192.168.0.3')], networks: [], gateways: [parseIp('192.168.0.1')] };
const BGP = { ...NO_RESOURCES.bgpConfiguration, serviceCidrs: [parseCidr('10.96.0.0/12')] };

function refusal(cidr: string, allowedSources?: readonly string[]): string | undefined {
  const network = readNetwork({ ...POOLS, ...(allowedSources && { allowedSources }) });
  const resources = { ...NO_RESOURCES, bgpConfiguration: BGP };
  return refusedSource(parseCidr(cidr), sourceRules({ network, resources, host: HOST, nodes: [NODE] }));
}

test('unless the network allows it, a pod may send from no other network', () => {
  for (const cidr of ['0.0.0.0/0', '::/0', '192.0.2.7/32', '10.244.1.1/32']) {
    assert.match(refusal(cidr) ?? '', /^is not part of allowedSources/);
  }
  assert.match(String(refusedSource(parseCidr('192.0.2.7/32'), sourceRules({}))), /not part/);
});

test('it may send from what is inside the list, and from nothing wider', () => {
  const list = ['192.0.2.0/24', '2001:db8::/48'];
  for (const cidr of ['192.0.2.0/24', '192.0.2.7/32', '2001:db8::/48', '2001:db8::7/128'])
    assert.equal(refusal(cidr, list), undefined);
  for (const cidr of ['192.0.0.0/16', '192.0.3.0/24', '0.0.0.0/0', '::/0', '2001:db8::/32'])
    assert.match(refusal(cidr, list) ?? '', /^is not part/);
});

test('the network’s configuration may say which networks the Services have', () => {
  const conf = { ...POOLS, allowedSources: ['0.0.0.0/0'], serviceNetworks: ['172.20.0.0/16'] };
  const rules = sourceRules({ network: readNetwork(conf) });
  assert.match(
    `${refusedSource(parseCidr('172.20.3.0/24'), rules)}`,
    /172\.20\.0\.0\/16, a network of Services/,
  );
  assert.equal(refusedSource(parseCidr('172.21.0.0/16'), rules), undefined);
});

test('a list as wide as can be still lets nobody pose as pods, nodes, gateways or Services', () => {
  const all = ['0.0.0.0/0', '::/0'];
  const refused: readonly (readonly [string, RegExp])[] = [
    ['0.0.0.0/0', /^overlaps /],
    ['::/0', /^overlaps /],
    ['10.244.7.0/24', /10\.244\.0\.0\/16, a network of pods/],
    ['fd10:0:0:1::/64', /fd10::\/56, a network of pods/],
    ['10.7.2.8/29', /10\.7\.2\.0\/24, a subnet of node n1/],
    ['10.100.0.0/16', /10\.96\.0\.0\/12, a network of Services/],
    ['192.168.0.2/32', /192\.168\.0\.2\/32, an address of node n1/],
    ['192.168.1.0/24', /192\.168\.1\.2\/32, an address of node n1/],
    ['192.168.0.3/32', /an address of this node/],
    ['192.168.0.0/31', /192\.168\.0\.1\/32, a gateway/],
    ['169.254.1.1/32', /special/],
    ['127.0.0.1/32', /special/],
    ['224.0.0.5/32', /special/],
    ['fe80::ecee:eeff:feee:eeee/128', /special/],
    ['::1/128', /special/],
  ];
  for (const [cidr, reason] of refused) assert.match(refusal(cidr, all) ?? '', reason, cidr);
  for (const cidr of ['192.168.0.128/25', '10.1.0.0/16', 'fd99::/64'])
    assert.equal(refusal(cidr, all), undefined);
});
