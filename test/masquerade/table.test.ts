import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Cidr, parseCidr } from '../../src/ip/cidr.ts';
import type { PodNetworks } from '../../src/masquerade/pod-networks.ts';
import { masqueradeItems } from '../../src/masquerade/table.ts';
import { command } from '../../src/state/print.ts';
import { tableIn } from '../state/nft-items.ts';

const network = parseCidr('10.0.0.0/8');
const own = [parseCidr('10.0.1.0/24')];
const lease = (subnets: readonly Cidr[]): PodNetworks => ({
  all: [network],
  hidden: subnets.length === 0 ? [] : [network],
  own: subnets,
  returns: true,
});
const settings = {
  enabled: true,
  randomFully: false,
  exclude: [parseCidr('192.0.2.0/24'), parseCidr('fd00::/64')],
};

const PORTS = { tcp: [], udp: [] };

test('when nothing is to be hidden there is no table', () => {
  assert.deepEqual(masqueradeItems(settings, 4, lease([]), PORTS), []);
});

test('each family has its own exclusions; a network inside another is not an element', () => {
  const inner = parseCidr('192.0.2.128/25');
  const items = masqueradeItems(
    { ...settings, exclude: [inner, ...settings.exclude, inner] },
    4,
    lease(own),
    PORTS,
  );
  assert.deepEqual(tableIn(items, 'ip', 'flatnet-masquerade')?.sets, {
    pools: ['10.0.0.0/8'],
    hidden: ['10.0.0.0/8'],
    own: ['10.0.1.0/24'],
    exclude: ['192.0.2.0/24'],
    'node-tcp': [],
    'node-udp': [],
    strays: [],
  });
  assert.deepEqual(
    tableIn(masqueradeItems(settings, 6, lease(own), PORTS), 'ip6', 'flatnet-masquerade')?.sets.exclude,
    ['fd00::/64'],
  );
});

test('an added block is an added element, and the structure stays', () => {
  const items = masqueradeItems(settings, 4, lease(own), PORTS);
  const more = masqueradeItems(settings, 4, lease([...own, parseCidr('10.0.9.0/24')]), PORTS);
  assert.deepEqual(
    more
      .map((item) => command(item, 'add'))
      .filter((text) => !items.some((item) => command(item, 'add') === text)),
    ["nft add element ip flatnet-masquerade own '{ 10.0.9.0/24 }'"],
  );
});

test('ports are random when configured', () => {
  const rules = (randomFully: boolean) =>
    tableIn(masqueradeItems({ ...settings, randomFully }, 4, lease(own), PORTS), 'ip', 'flatnet-masquerade')
      ?.rules;
  assert.match(rules(true) ?? '', /masquerade fully-random/);
  assert.doesNotMatch(rules(false) ?? '', /fully-random/);
});
