import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../../src/linux/netlink/socket.ts';
import { elementCreate, elementDelete } from '../../../src/linux/nftables/element.ts';
import { structurePrint } from '../../../src/linux/nftables/fingerprint.ts';
import { generation, nextGeneration } from '../../../src/linux/nftables/generation.ts';
import { type NftEvent, NftMonitor } from '../../../src/linux/nftables/monitor.ts';
import { applyRuleset } from '../../../src/linux/nftables/ruleset.ts';
import { commit } from '../../../src/linux/nftables/transaction.ts';
import { type ElementText, elementOf } from '../../../src/linux/nftables/values/element.ts';
import type { SetValue } from '../../../src/linux/nftables/values/table.ts';
import { kernelTest, sandbox } from '../sandbox.ts';

const TABLE = { family: 'inet', table: 't' } as const;
const ip = (text: string) => parseIp(text);
const range = (first: string, last: string) => ({ first: ip(first), last: ip(last) });

const PLAIN = { name: 'plain', key: ['ipv4_addr'] } as const satisfies SetValue;
const PLAIN6 = { name: 'plain6', key: ['ipv6_addr'] } as const satisfies SetValue;
const NETS = { name: 'nets', key: ['ipv4_addr'], interval: true } as const satisfies SetValue;
const NETS6 = { name: 'nets6', key: ['ipv6_addr'], interval: true } as const satisfies SetValue;
const PAIR = { name: 'pair', key: ['ipv4_addr', 'inet_service'], interval: true } as const satisfies SetValue;
const NAMED = { name: 'named', key: ['ipv4_addr', 'ifname'] } as const satisfies SetValue;
const NAT = { name: 'nat', key: ['ipv4_addr'], data: ['ipv4_addr'] } as const satisfies SetValue;
const NATPORTS = {
  name: 'natports',
  key: ['inet_service'],
  data: ['ipv4_addr', 'inet_service'],
} as const satisfies SetValue;
const NETMAP = { ...NAT, name: 'netmap', interval: true } as const satisfies SetValue;
const VERDICTS = { name: 'verdicts', key: ['ifname'], data: 'verdict' } as const satisfies SetValue;
const plain = (...ips: string[]) => ips.map((each) => elementOf(PLAIN, [ip(each)]));

const RULESET = `
  table inet t {
    set plain { type ipv4_addr; }
    set plain6 { type ipv6_addr; }
    set nets { type ipv4_addr; flags interval; }
    set nets6 { type ipv6_addr; flags interval; }
    set pair { type ipv4_addr . inet_service; flags interval; }
    set named { type ipv4_addr . ifname; }
    set learnt { type ipv4_addr; flags dynamic, timeout; timeout 1m; }
    map nat { type ipv4_addr : ipv4_addr; }
    map natports { type inet_service : ipv4_addr . inet_service; }
    map netmap { type ipv4_addr : ipv4_addr; flags interval; }
    map verdicts { type ifname : verdict; }
    counter hits { }
    chain jumped { counter comment "counted"; }
    chain input {
      type filter hook input priority 0; policy accept;
      ip saddr @plain drop
      ip saddr { 192.0.2.1, 192.0.2.2 } accept
      counter name hits
      update @learnt { ip saddr }
    }
  }
`;

async function withTable(t: TestContext) {
  const box = sandbox(t);
  await applyRuleset(RULESET, { netns: box.netns });
  const socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns: box.netns });
  t.after(() => socket.close());
  /** The elements of a set or map according to `nft`. */
  const list = (kind: 'set' | 'map', name: string): string => {
    const text = box.run('nft', 'list', kind, 'inet', 't', name);
    return /elements = \{([^}]*)\}/s.exec(text)?.[1]?.replace(/\s+/g, ' ').trim() ?? '';
  };
  return { ...box, socket, list };
}

kernelTest('elements of every kind of set and map match `nft list`', async (t) => {
  const { socket, list } = await withTable(t);
  const cases: [set: SetValue, elements: ElementText[], shown: string][] = [
    [PLAIN, plain('10.0.0.1', '10.0.0.2'), '10.0.0.1, 10.0.0.2'],
    [PLAIN6, [elementOf(PLAIN6, [ip('fd00::1')])], 'fd00::1'],
    [
      NETS,
      [
        elementOf(NETS, [parseCidr('0.0.0.0/8')]),
        elementOf(NETS, [parseCidr('10.0.0.0/24')]),
        elementOf(NETS, [parseCidr('255.0.0.0/8')]),
        elementOf(NETS, [range('172.16.0.5', '172.16.0.9')]),
      ],
      '0.0.0.0/8, 10.0.0.0/24, 172.16.0.5-172.16.0.9, 255.0.0.0/8',
    ],
    [
      NETS6,
      [elementOf(NETS6, [parseCidr('fd00::/64')]), elementOf(NETS6, [parseCidr('ff00::/8')])],
      'fd00::/64, ff00::/8',
    ],
    [PAIR, [elementOf(PAIR, [parseCidr('10.0.0.0/24'), { first: 80, last: 90 }])], '10.0.0.0/24 . 80-90'],
    [NAMED, [elementOf(NAMED, [ip('10.0.0.1'), 'flannel.1'])], '10.0.0.1 . "flannel.1"'],
    [NAT, [elementOf(NAT, [ip('10.0.0.1')], [ip('10.0.0.2')])], '10.0.0.1 : 10.0.0.2'],
    [NATPORTS, [elementOf(NATPORTS, [8080], [ip('10.0.0.2'), 80])], '8080 : 10.0.0.2 . 80'],
    [NETMAP, [elementOf(NETMAP, [parseCidr('10.0.0.0/24')], [ip('10.9.9.9')])], '10.0.0.0/24 : 10.9.9.9'],
    [
      VERDICTS,
      [elementOf(VERDICTS, ['eth0'], { jump: 'jumped' }), elementOf(VERDICTS, ['eth1'], 'drop')],
      '"eth0" : jump jumped, "eth1" : drop',
    ],
  ];
  const sorted = (text: string): string => text.split(', ').sort().join(', ');
  const shownIn = ({ name, data }: SetValue) => list(data ? 'map' : 'set', name);
  await commit(
    socket,
    cases.flatMap(([set, elements]) => elementCreate(TABLE, set, elements)),
  );
  for (const [set, , shown] of cases) assert.equal(sorted(shownIn(set)), sorted(shown), set.name);
  await commit(
    socket,
    cases.flatMap(([set, elements]) => elementDelete(TABLE, set, elements)),
  );
  for (const [set] of cases) assert.equal(shownIn(set), '', set.name);
});

kernelTest('a transaction is committed as a whole or not at all', async (t) => {
  const { socket, list } = await withTable(t);
  const good = elementCreate(TABLE, PLAIN, plain('10.0.0.1'));
  const absent = elementDelete(TABLE, PLAIN, plain('10.0.0.9'));
  await assert.rejects(commit(socket, [...good, ...absent]), {
    code: 'NETLINK',
    operation: 'nft delete element',
    object: 'inet t plain',
    errno: 'ENOENT',
  });
  assert.equal(list('set', 'plain'), '');
  const nowhere = elementCreate(TABLE, { ...PLAIN, name: 'nosuch' }, plain('10.0.0.1'));
  await assert.rejects(commit(socket, nowhere), { errno: 'ENOENT' });
  const nat = (to: string) => elementCreate(TABLE, NAT, [elementOf(NAT, [ip('10.0.0.1')], [ip(to)])]);
  await commit(socket, nat('10.0.0.2'));
  await assert.rejects(commit(socket, nat('10.0.0.3')), { errno: 'EEXIST' });
  await commit(socket, []);
});

kernelTest('ten thousand elements in one transaction, and one more after that', async (t) => {
  const { socket, list } = await withTable(t);
  const elements = plain(...Array.from({ length: 10_000 }, (_, i) => `10.${i >> 8}.${i & 255}.1`));
  const start = performance.now();
  await commit(socket, elementCreate(TABLE, PLAIN, elements));
  const bulk = performance.now() - start;
  const one = performance.now();
  for (let i = 0; i < 100; i++) {
    await commit(socket, elementCreate(TABLE, PLAIN, plain(`192.0.2.${i}`)));
  }
  const each = (performance.now() - one) / 100;
  t.diagnostic(`10,000 in ${bulk.toFixed(1)} ms, then one in ${each.toFixed(3)} ms`);
  assert.equal(list('set', 'plain').split(', ').length, 10_100);
});

kernelTest('a ruleset is one transaction, and its error carries nft’s message', async (t) => {
  const { netns, run } = await withTable(t);
  const before = run('nft', 'list', 'ruleset');
  await assert.rejects(
    applyRuleset('flush ruleset\ntable inet t {\n chain x { foo bar }\n}', { netns }),
    (error) => {
      assert.ok(error instanceof Error && 'code' in error && error.code === 'NFTABLES');
      assert.match(error.message, /^nft -f: line 3:.*Error: syntax error/);
      return true;
    },
  );
  await assert.rejects(
    applyRuleset('flush ruleset; add rule inet nosuch x accept', { netns }),
    /No such file/,
  );
  assert.equal(run('nft', 'list', 'ruleset'), before);
  await assert.rejects(applyRuleset('', { netns: '/run/netns/nosuch' }), { code: 'NOT_FOUND' });
  const aborted = AbortSignal.abort();
  await assert.rejects(applyRuleset('', { netns, signal: aborted }), { code: 'NFTABLES' });
  await applyRuleset('', { netns });
});

kernelTest('the structure print changes with every structural change and nothing else', async (t) => {
  const { netns, run, socket } = await withTable(t);
  const now = (): Promise<string | undefined> => structurePrint(socket, TABLE);
  const first = await now();
  assert.match(first ?? '', /^[\w-]{43}$/);
  assert.equal(await structurePrint(socket, { family: 'ip', table: 't' }), undefined);

  const nft = (...command: string[]): string => run('nft', ...command);
  run('ip', 'link', 'set', 'lo', 'up');
  run('ping', '-c', '2', '-i', '0.01', '127.0.0.1');
  assert.match(nft('list', 'counters'), /packets [1-9]/);
  assert.match(nft('list', 'set', 'inet', 't', 'learnt'), /127\.0\.0\.1/);
  assert.equal(await now(), first, 'packets');
  nft('add', 'table', 'inet', 'other');
  nft('add', 'chain', 'inet', 'other', 'x');
  assert.equal(await now(), first, 'another table');
  await applyRuleset(`table inet t; delete table inet t; ${RULESET}`, { netns });
  assert.equal(await now(), first, 'the same structure with other handles');
  await applyRuleset('table inet t; delete table inet t;', { netns });
  assert.equal(await now(), undefined);
  await applyRuleset(RULESET, { netns });
  assert.equal(await now(), first, 'deleted and recreated');

  const changes = [
    'add rule inet t input drop',
    'insert rule inet t input accept',
    'add rule inet t jumped accept comment "why"',
    'add chain inet t more',
    'add set inet t extra { type ipv4_addr; }',
    'add chain inet t input { policy drop; }',
    'add counter inet t misses',
    'flush chain inet t jumped',
    'add table inet t { flags dormant; }',
    'flush table inet t',
  ];
  const seen = new Set([first]);
  for (const change of changes) {
    nft(change);
    const print = await now();
    assert.ok(print && !seen.has(print), change);
    seen.add(print);
    assert.equal(await now(), print);
  }
});

kernelTest('the monitor reports which table changed, and its originator', async (t) => {
  const { netns, socket, run } = await withTable(t);
  const stop = new AbortController();
  t.after(() => stop.abort());
  const events: NftEvent[] = [];
  const done = NftMonitor.open({ netns, signal: stop.signal }).run((event) => events.push(event));
  await applyRuleset('add table ip6 mine; add chain ip6 mine x', { netns });
  await commit(socket, elementCreate(TABLE, PLAIN, plain('10.0.0.1')));
  run('nft', 'delete', 'table', 'inet', 't');
  for (let i = 0; i < 100 && events.length < 3; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  stop.abort();
  await done;
  const [first, second, third] = events;
  assert.ok(first?.type === 'transaction' && second?.type === 'transaction' && third?.type === 'transaction');
  assert.deepEqual(
    [first, second, third].map(({ tables, portId }) => [tables, portId === socket.portId]),
    [
      [[{ family: 'ip6', table: 'mine' }], false],
      [[TABLE], true],
      [[TABLE], false],
    ],
  );
  assert.equal(second.generation, nextGeneration(first.generation));
  assert.equal(third.generation, await generation(socket));
});

kernelTest('the structure print ignores elements and the numbers of anonymous sets', async (t) => {
  const { netns, run, socket } = await withTable(t);
  const first = await structurePrint(socket, TABLE);
  run('nft', 'add element inet t plain { 10.0.0.1 }');
  run('nft', 'add element inet t verdicts { "eth0" : goto jumped }');
  assert.equal(await structurePrint(socket, TABLE), first);
  const rule = (ports: string) => `add rule inet t jumped tcp dport { ${ports} } drop`;
  await applyRuleset(`${rule('1, 2')}\n${rule('3, 4')}`, { netns });
  const two = await structurePrint(socket, TABLE);
  assert.notEqual(two, first);
  run('nft', 'flush chain inet t jumped');
  await applyRuleset(`${rule('1, 2')}\n${rule('3, 4')}`, { netns });
  const plain = await structurePrint(socket, TABLE);
  run('nft', 'flush chain inet t jumped');
  await applyRuleset(`add chain inet t extra\nadd rule inet t extra tcp dport { 5, 6 } drop`, { netns });
  await applyRuleset(`${rule('1, 2')}\n${rule('3, 4')}`, { netns });
  run('nft', 'flush chain inet t extra');
  run('nft', 'delete chain inet t extra');
  assert.match(run('nft', '--debug=netlink', 'list', 'chain', 'inet', 't', 'jumped'), /__set2/);
  assert.equal(await structurePrint(socket, TABLE), plain);
  await applyRuleset(`flush chain inet t jumped\n${rule('1, 2')}\n${rule('3, 5')}`, { netns });
  assert.notEqual(await structurePrint(socket, TABLE), plain);
});
