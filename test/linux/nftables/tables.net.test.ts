import assert from 'node:assert/strict';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { parseMac } from '../../../src/ip/mac.ts';
import { lacksFamily } from '../../../src/linux/nftables/family.ts';
import { applyRuleset } from '../../../src/linux/nftables/ruleset.ts';
import { type ElementText, elementOf } from '../../../src/linux/nftables/values/element.ts';
import { replaceText } from '../../../src/linux/nftables/values/render.ts';
import type { SetValue, Table } from '../../../src/linux/nftables/values/table.ts';
import { kernelTest, sandbox } from '../sandbox.ts';

/** Network policy: a pod's device leads to a chain shared by pods with the same policies. */
const PODS = { name: 'pods', key: ['ifname'], data: 'verdict' } as const satisfies SetValue;
const PEERS = {
  name: 'peers',
  key: ['ipv4_addr', 'inet_proto', 'inet_service'],
  interval: true,
} as const satisfies SetValue;
const POLICY: Table = {
  family: 'inet',
  table: 'flatnet-policy',
  sets: [PODS, PEERS, { name: 'marks', key: ['mark'], data: 'verdict', size: 64 }],
  chains: [
    {
      name: 'web',
      rules: [
        { rule: 'ip saddr . meta l4proto . th dport @peers accept' },
        { rule: 'drop', comment: 'no policy' },
      ],
    },
    {
      name: 'forward',
      hook: { type: 'filter', hook: 'forward', priority: 'filter - 1', policy: 'drop' },
      rules: [
        { rule: 'ct state established,related accept' },
        { rule: 'meta mark vmap @marks' },
        { rule: 'oifname vmap @pods' },
      ],
    },
  ],
};
const POLICY_ELEMENTS = [
  elementOf(PODS, ['cali1'], { goto: 'web' }),
  elementOf(PODS, ['cali2'], { jump: 'web' }),
  elementOf(PODS, ['cali3'], 'drop'),
  elementOf(PEERS, [parseCidr('10.0.0.0/8'), 'tcp', { first: 80, last: 90 }]),
  elementOf(PEERS, [parseIp('192.0.2.1'), 17, 53]),
];

/** The addresses allowed behind each port of a bridge. */
const PORTS = { name: 'ports', key: ['ifname', 'ether_addr', 'ipv4_addr'] } as const satisfies SetValue;
const BRIDGE: Table = {
  family: 'bridge',
  table: 'flatnet-ports',
  sets: [PORTS],
  chains: [
    {
      name: 'in',
      hook: { type: 'filter', hook: 'prerouting', priority: -300 },
      rules: [
        { rule: 'ether type ip iifname . ether saddr . ip saddr @ports accept' },
        { rule: 'ether type arp iifname . ether saddr . arp saddr ip @ports accept' },
        { rule: 'drop' },
      ],
    },
  ],
};

kernelTest(
  'tables of policies and of a bridge’s ports: the kernel holds what the values describe',
  async (t) => {
    const box = sandbox(t);
    /** The objects of a kind in a table, according to `nft -j`. */
    const objects = (table: Table, kind: string) => {
      const { nftables } = JSON.parse(box.run('nft', '-j', 'list', 'table', table.family, table.table));
      return nftables.flatMap((each: Record<string, unknown>) => each[kind] ?? []);
    };
    const apply = (table: Table, elements: readonly ElementText[]) =>
      applyRuleset(replaceText(table, elements), { netns: box.netns });

    await apply(POLICY, POLICY_ELEMENTS);
    const [pods] = objects(POLICY, 'map').filter(({ name }: { name: string }) => name === 'pods');
    assert.deepEqual([pods.type, pods.map], ['ifname', 'verdict']);
    assert.deepEqual(
      new Map(pods.elem),
      new Map<string, object>([
        ['cali1', { goto: { target: 'web' } }],
        ['cali2', { jump: { target: 'web' } }],
        ['cali3', { drop: null }],
      ]),
    );
    const [peers] = objects(POLICY, 'set');
    assert.deepEqual(peers.type, ['ipv4_addr', 'inet_proto', 'inet_service']);
    assert.deepEqual(peers.flags, ['interval']);
    assert.equal(peers.elem.length, 2);
    const [forward] = objects(POLICY, 'chain').filter(({ name }: { name: string }) => name === 'forward');
    assert.deepEqual([forward.hook, forward.prio, forward.policy], ['forward', -1, 'drop']);
    assert.equal(objects(POLICY, 'rule').length, 5);
    assert.equal(objects(POLICY, 'map').find(({ name }: { name: string }) => name === 'marks')?.size, 64);

    const mac = parseMac('02:00:00:00:00:01');
    await apply(BRIDGE, [elementOf(PORTS, ['veth1', mac, parseIp('10.0.1.5')])]);
    const [ports] = objects(BRIDGE, 'set');
    assert.deepEqual(ports.elem, [{ concat: ['veth1', mac, '10.0.1.5'] }]);
    assert.equal(objects(BRIDGE, 'rule').length, 3);
  },
);

kernelTest('the kernel of the tests has the families of tables that flatnet uses', async () => {
  for (const family of ['ip', 'ip6', 'bridge', 'arp'] as const)
    assert.equal(await lacksFamily(family), false, family);
});
