import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Cidr, parseCidr } from '../../src/ip/cidr.ts';
import type { PodNetworks } from '../../src/masquerade/pod-networks.ts';
import { masqueradeItems } from '../../src/masquerade/table.ts';

const network = parseCidr('10.0.0.0/8');
const own = [parseCidr('10.0.1.0/24')];
const lease = (subnets: readonly Cidr[]): PodNetworks => ({
  all: [network],
  hidden: subnets.length === 0 ? [] : [network],
  own: subnets,
  returns: true,
  bgpPorts: [],
});
const settings = {
  enabled: true,
  randomFully: false,
  exclude: [parseCidr('192.0.2.0/24'), parseCidr('fd00::/64')],
};

test('when nothing is to be hidden there is no table', () => {
  assert.deepEqual(masqueradeItems(settings, 4, lease([])), []);
});

test('the same facts in any order give the same text, each family its own exclusions', () => {
  const more = [...own, parseCidr('10.0.9.0/24')];
  assert.deepEqual(
    masqueradeItems(settings, 4, lease(more)),
    masqueradeItems({ ...settings, exclude: settings.exclude.toReversed() }, 4, lease(more.toReversed())),
  );
  const [item] = masqueradeItems(settings, 4, lease(own));
  assert.ok(item?.kind === 'nft');
  assert.match(item.body, /elements = \{ 192\.0\.2\.0\/24 \}/);
  assert.doesNotMatch(item.body, /fd00::|fully-random/);
  const [random] = masqueradeItems({ ...settings, randomFully: true }, 4, lease(own));
  assert.ok(random?.kind === 'nft' && random.body.includes('masquerade fully-random'));
});
