import assert from 'node:assert/strict';
import fc from 'fast-check';
import { ipFromBigInt } from '../../../src/ip/address.ts';
import { cidrOf } from '../../../src/ip/cidr.ts';
import { macFromBytes } from '../../../src/ip/mac.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../../src/linux/netlink/socket.ts';
import { elementCreate, elementDelete } from '../../../src/linux/nftables/element.ts';
import { readElements } from '../../../src/linux/nftables/element-dump.ts';
import { applyRuleset } from '../../../src/linux/nftables/ruleset.ts';
import { commit } from '../../../src/linux/nftables/transaction.ts';
import type { ElementText } from '../../../src/linux/nftables/values/element.ts';
import { type FieldType, fieldText } from '../../../src/linux/nftables/values/field.ts';
import { overlapping } from '../../../src/linux/nftables/values/overlap.ts';
import { replaceText } from '../../../src/linux/nftables/values/render.ts';
import type { FieldTypes, SetValue, Table, TableFamily } from '../../../src/linux/nftables/values/table.ts';
import { kernelTest, sandbox } from '../sandbox.ts';

const FAMILIES: readonly TableFamily[] = ['ip', 'ip6', 'inet', 'bridge'];
const CHAIN = 'elsewhere';

/** Few addresses and ports, so that ranges meet each other and the limits of the number space. */
const small = (bits: number): fc.Arbitrary<bigint> => {
  const top = (1n << BigInt(bits)) - 1n;
  return fc.oneof(
    fc.bigInt({ min: 0n, max: 40n }),
    fc.bigInt({ min: top - 40n, max: top }),
    fc.bigInt({ min: 0n, max: top }),
  );
};

const single: { readonly [T in FieldType]: fc.Arbitrary<string> } = {
  ipv4_addr: small(32).map((n) => ipFromBigInt(4, n)),
  ipv6_addr: small(128).map((n) => ipFromBigInt(6, n)),
  ether_addr: fc.uint8Array({ minLength: 6, maxLength: 6 }).map((bytes) => macFromBytes(bytes)),
  inet_proto: fc.integer({ min: 0, max: 255 }).map((n) => fieldText('inet_proto', n)),
  inet_service: small(16).map((n) => fieldText('inet_service', Number(n))),
  mark: small(32).map((n) => fieldText('mark', Number(n))),
  ifname: fc.stringMatching(/^[a-z][a-z0-9.@_-]{0,14}$/).map((name) => fieldText('ifname', name)),
  ether_source: fc
    .tuple(fc.uint8Array({ minLength: 6, maxLength: 6 }), fc.constantFrom('ip', 'ip6'))
    .map(([bytes, type]) => fieldText('ether_source', { mac: macFromBytes(bytes), type })),
  nd_target: small(128).map((n) => fieldText('nd_target', ipFromBigInt(6, n))),
  nd_option_mac: fc.uint8Array({ minLength: 6, maxLength: 6 }).map((bytes) => macFromBytes(bytes)),
  icmp_kind: small(16).map((n) => fieldText('icmp_kind', Number(n))),
};

const ordered = (bits: number): fc.Arbitrary<[bigint, bigint]> =>
  fc.tuple(small(bits), small(bits)).map(([a, b]) => (a <= b ? [a, b] : [b, a]));

const ranged: { readonly [T in FieldType]: fc.Arbitrary<string> } = {
  ...single,
  ipv4_addr: fc.oneof(
    ordered(32).map(([a, b]) =>
      fieldText('ipv4_addr', { first: ipFromBigInt(4, a), last: ipFromBigInt(4, b) }),
    ),
    fc
      .tuple(small(32), fc.integer({ min: 0, max: 32 }))
      .map(([n, length]) => fieldText('ipv4_addr', cidrOf(ipFromBigInt(4, n), length))),
  ),
  ipv6_addr: ordered(128).map(([a, b]) =>
    fieldText('ipv6_addr', { first: ipFromBigInt(6, a), last: ipFromBigInt(6, b) }),
  ),
  inet_service: ordered(16).map(([a, b]) => fieldText('inet_service', { first: Number(a), last: Number(b) })),
};

const types: fc.Arbitrary<FieldType> = fc.constantFrom(
  'ipv4_addr',
  'ipv6_addr',
  'ether_addr',
  'inet_proto',
  'inet_service',
  'mark',
  'ifname',
);
const keyTypes: fc.Arbitrary<FieldTypes> = fc
  .tuple(types, fc.array(types, { maxLength: 2 }))
  .map(([first, rest]) => [first, ...rest]);
/** In ranges, the kernel compares the bytes of these in another order. */
const hasMark = (key: FieldTypes): boolean => key.includes('mark') || key.includes('ifname');

const verdicts = fc.constantFrom('accept', 'drop', 'return', 'continue', `jump ${CHAIN}`, `goto ${CHAIN}`);
const filled: fc.Arbitrary<{ set: SetValue; elements: readonly ElementText[] }> = fc
  .record({
    key: keyTypes,
    data: fc.option(
      fc.oneof(
        fc.constant('verdict' as const),
        types.map((type): FieldTypes => [type]),
      ),
      {
        nil: undefined,
      },
    ),
    wish: fc.boolean(),
  })
  .chain(({ key, data, wish }) => {
    const interval = wish && !hasMark(key);
    const set: SetValue = { name: 's', key, ...(data && { data }), ...(interval && { interval }) };
    const keyText = fc
      .tuple(...key.map((type) => (interval ? ranged : single)[type]))
      .map((fields) => fields.join(' . '));
    const dataText =
      data === undefined ? fc.constant(undefined) : data === 'verdict' ? verdicts : single[data[0]];
    const element = fc
      .tuple(keyText, dataText)
      .map(([k, d]): ElementText => ({ set: 's', key: k, ...(d !== undefined && { data: d }) }));
    return fc
      .uniqueArray(element, { maxLength: 12, selector: ({ key: text }) => text })
      .map((elements) => ({ set, elements }));
  });

const byKey = (elements: readonly ElementText[]): ElementText[] =>
  [...elements].sort((a, b) => (a.key < b.key ? -1 : 1));

kernelTest('a set or map of any type holds the elements it is given, as text and by netlink', async (t) => {
  const box = sandbox(t);
  using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns: box.netns });
  let compared = 0;
  const property = fc.asyncProperty(
    fc.constantFrom(...FAMILIES),
    filled,
    async (family, { set, elements }) => {
      const table: Table = {
        family,
        table: 'flatnet-test',
        sets: [set],
        chains: [{ name: CHAIN, rules: [] }],
      };
      await applyRuleset(replaceText(table, []), { netns: box.netns });
      const bad = overlapping(set, elements);
      const taken = elements.filter((element) => !bad.has(element));
      await commit(socket, elementCreate(table, set, taken));
      assert.deepEqual(byKey(await readElements(socket, table, set)), byKey(taken));
      await applyRuleset(replaceText(table, taken), { netns: box.netns });
      assert.deepEqual(byKey(await readElements(socket, table, set)), byKey(taken));
      const [gone, kept] = [taken.slice(0, 4), taken.slice(4)];
      await commit(socket, elementDelete(table, set, gone));
      assert.deepEqual(byKey(await readElements(socket, table, set)), byKey(kept));
      await commit(socket, elementCreate(table, set, gone));
      assert.deepEqual(byKey(await readElements(socket, table, set)), byKey(taken));
      compared += taken.length;
    },
  );
  await fc.assert(property, { numRuns: 60, interruptAfterTimeLimit: 25_000, endOnFailure: true });
  assert.ok(compared > 50, `${compared} elements`);
});
