import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseIp } from '../../../src/ip/address.ts';
import { parseCidr } from '../../../src/ip/cidr.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../../src/linux/netlink/socket.ts';
import { generation, nextGeneration } from '../../../src/linux/nftables/generation.ts';
import { type NftEvent, NftMonitor } from '../../../src/linux/nftables/monitor.ts';
import { SILENT } from '../../../src/log.ts';
import type { Item } from '../../../src/state/item.ts';
import { elementItem, elementOf } from '../../../src/state/kinds/nft-element.ts';
import type { NftTableItem, SetValue } from '../../../src/state/kinds/nft-table.ts';
import { Reconciler } from '../../../src/state/reconciler.ts';
import type { Report } from '../../../src/state/reporter.ts';
import { asOne } from '../../desired/composed.ts';
import { kernelTest, type Sandbox, sandbox } from '../../linux/sandbox.ts';

const NODES = { name: 'nodes', key: ['ipv4_addr'] } as const satisfies SetValue;
const NETS = { name: 'nets', key: ['ipv4_addr'], interval: true } as const satisfies SetValue;
const WEB = {
  name: 'web',
  key: ['ifname', 'inet_proto', 'inet_service'],
  data: 'verdict',
} as const satisfies SetValue;
const RULES = [
  { rule: 'ip saddr @nodes accept', comment: 'a node' },
  { rule: 'tcp dport { 22, 80 } accept' },
  { rule: 'iifname . meta l4proto . th dport vmap @web' },
];
const TABLE: NftTableItem = {
  kind: 'nft-table',
  family: 'inet',
  table: 'flatnet-test',
  sets: [NODES, NETS, WEB],
  chains: [
    { name: 'web', rules: [{ rule: 'accept' }] },
    { name: 'in', hook: { type: 'filter', hook: 'input', priority: 'filter' }, rules: RULES },
  ],
};
const node = (text: string) => elementItem(TABLE, elementOf(NODES, [parseIp(text)]));
const net = (text: string) => elementItem(TABLE, elementOf(NETS, [parseCidr(text)]));
const web = (port: number, verdict: 'accept' | 'drop' | { goto: string }) =>
  elementItem(TABLE, elementOf(WEB, ['eth0', 'tcp', port], verdict));
const BASE: readonly Item[] = [TABLE, node('10.0.0.1'), net('10.1.0.0/24'), web(80, { goto: 'web' })];

/** A reconciler running on a namespace, with its reports and the kernel's notifications. */
class Bench implements Disposable {
  readonly reports: Report[] = [];
  readonly transactions: Extract<NftEvent, { type: 'transaction' }>[] = [];
  readonly reconciler: Reconciler;
  foreign = 0;
  readonly #abort = new AbortController();

  constructor({ netns }: Pick<Sandbox, 'netns'>, items: readonly Item[]) {
    const { signal } = this.#abort;
    void NftMonitor.open({ netns, signal }).run((event) => {
      if (event.type === 'transaction') this.transactions.push(event);
    });
    this.reconciler = new Reconciler({
      netns,
      log: SILENT,
      onReport: (report) => this.reports.push(report),
      onForeignTable: () => this.foreign++,
    });
    this.reconciler.allowPrune();
    this.want(items);
    this.reconciler.start(signal);
  }

  want(items: readonly Item[]): void {
    this.reconciler.setDesired(asOne(items));
  }

  /** Waits until nothing happens any more. */
  async quiet(): Promise<void> {
    for (let seen = -1; seen !== this.reports.length + this.transactions.length; ) {
      seen = this.reports.length + this.transactions.length;
      await sleep(150);
      await this.reconciler.idle();
    }
  }

  [Symbol.dispose](): void {
    this.#abort.abort();
  }
}

kernelTest(
  'a table and its elements take one transaction, later elements another, without reading the kernel',
  async (t) => {
    const box = sandbox(t);
    using bench = new Bench(box, BASE);
    await bench.quiet();
    assert.equal(bench.transactions.length, 1);
    assert.equal(bench.reports.length, 1);
    assert.match(box.run('nft', 'list', 'table', 'inet', 'flatnet-test'), /"eth0" \. tcp \. 80 : goto web/);
    const dump = t.mock.method(NetlinkSocket.prototype, 'dump');
    bench.want([...BASE, node('10.0.0.2'), net('10.2.0.0/16'), web(81, 'drop')]);
    await bench.quiet();
    assert.equal(bench.transactions.length, 2);
    assert.deepEqual(
      bench.reports.slice(1).map(({ done, full }) => [done.length, full]),
      [[3, false]],
    );
    assert.equal(dump.mock.callCount(), 0);
    assert.match(box.run('nft', 'list', 'map', 'inet', 'flatnet-test', 'web'), /81 : drop/);
  },
);

kernelTest('an agent that starts on a correct kernel writes nothing', async (t) => {
  const box = sandbox(t);
  {
    using bench = new Bench(box, BASE);
    await bench.quiet();
  }
  using again = new Bench(box, BASE);
  await again.quiet();
  assert.deepEqual(again.transactions, []);
  assert.deepEqual(
    again.reports.flatMap(({ done, undone }) => [...done, ...undone]),
    [],
  );
});

kernelTest(
  'external changes to our tables are each undone once; those to other tables cause no read',
  async (t) => {
    const box = sandbox(t);
    using bench = new Bench(box, BASE);
    await bench.quiet();
    /** The whole ruleset, as the table itself may be gone for a moment. */
    const list = () => box.run('nft', '-s', 'list', 'ruleset');
    const before = list();
    const harms = {
      'an extra rule': 'add rule inet flatnet-test in drop',
      'a flushed chain': 'flush chain inet flatnet-test in',
      'a deleted table': 'delete table inet flatnet-test',
      'an extra set': 'add set inet flatnet-test extra { type mark; }',
      'a flushed set': 'flush set inet flatnet-test nets',
      'an extra element': 'add element inet flatnet-test nodes { 192.0.2.1 }',
      'a deleted element': 'delete element inet flatnet-test nodes { 10.0.0.1 }',
      'a changed verdict':
        'delete element inet flatnet-test web { "eth0" . tcp . 80 }; add element inet flatnet-test web { "eth0" . tcp . 80 : drop }',
      'a changed policy': 'add chain inet flatnet-test in { policy drop; }',
      'a table with a former name of ours': 'add table ip flatnet',
    };
    for (const [name, harm] of Object.entries(harms)) {
      const [transactions, reports] = [bench.transactions.length, bench.reports.length];
      box.run('nft', harm);
      for (let i = 0; i < 150 && list() !== before; i++) await sleep(20);
      await bench.quiet();
      assert.equal(list(), before, name);
      assert.equal(bench.transactions.length - transactions, 2, `${name}: the harm and one transaction`);
      assert.equal(bench.reports.length - reports, 1, name);
    }
    assert.equal(bench.foreign, 0);
    const reports = bench.reports.length;
    const dump = t.mock.method(NetlinkSocket.prototype, 'dump');
    for (let i = 0; i < 5; i++) box.run('nft', `add table ip other${i}; add chain ip other${i} x`);
    await bench.quiet();
    assert.ok(bench.foreign >= 5);
    assert.equal(bench.reports.length, reports);
    assert.equal(dump.mock.callCount(), 0);
    await bench.reconciler.run();
    const objects = dump.mock.calls.map(({ arguments: [request] }) => Object(request).object as string);
    assert.ok(!objects.some((object) => object.includes('flatnet')), objects.join());
  },
);

kernelTest('an overlapping element is reported, and everything else is in place', async (t) => {
  const box = sandbox(t);
  using bench = new Bench(box, [...BASE, net('10.1.0.0/16'), net('10.3.0.0/16')]);
  await bench.quiet();
  const shown = () => box.run('nft', 'list', 'set', 'inet', 'flatnet-test', 'nets').replaceAll(/\s+/g, ' ');
  assert.match(shown(), /\{ 10\.1\.0\.0\/24, 10\.3\.0\.0\/16 \}/);
  assert.match(String(bench.reports.at(-1)?.undone[0]?.reason), /overlaps 10\.1\.0\.0\/24 in set nets/);
  bench.want([...BASE, net('10.3.0.0/17'), net('10.3.128.0/17')]);
  await bench.quiet();
  assert.match(
    shown(),
    /\{ 10\.1\.0\.0\/24, 10\.3\.0\.0-10\.3\.255\.255|\{ 10\.1\.0\.0\/24, 10\.3\.0\.0\/17, 10\.3\.128\.0\/17 \}/,
  );
  assert.deepEqual(bench.reports.at(-1)?.undone, []);
});

kernelTest(
  'ten thousand elements: with their table, one more, refilled, and verified at a start',
  async (t) => {
    const box = sandbox(t);
    const many = Array.from({ length: 10_000 }, (_, i) => node(`10.${64 + (i >> 8)}.${i & 255}.1`));
    const took = async (bench: Bench, act: () => void): Promise<number> => {
      const before = bench.reports.length;
      act();
      await bench.quiet();
      return bench.reports.slice(before).reduce((sum, { duration }) => sum + duration, 0);
    };
    using bench = new Bench(box, [TABLE]);
    await bench.quiet();
    box.run('nft', 'delete table inet flatnet-test');
    const all = await took(bench, () => bench.want([TABLE, ...many]));
    const one = await took(bench, () => bench.want([TABLE, ...many, node('10.0.0.9')]));
    const less = await took(bench, () => bench.want([TABLE, ...many]));
    const count = bench.transactions.length;
    const refill = await took(bench, () => box.run('nft', 'flush set inet flatnet-test nodes'));
    assert.equal(bench.transactions.length, count + 2);
    const begin = performance.now();
    const again = new Reconciler({ netns: box.netns, log: SILENT });
    again.setDesired(asOne([TABLE, ...many]));
    assert.deepEqual((await again.run()).done, []);
    const start = performance.now() - begin;
    again[Symbol.dispose]();
    const ms = (value: number) => value.toFixed(1);
    t.diagnostic(
      `ms: ${ms(all)} with the table, ${ms(one)} one more, ${ms(less)} one less, ${ms(refill)} refilled, ${ms(start)} verified`,
    );
  },
);

kernelTest('an element that the kernel refuses does not cost the others their table', async (t) => {
  const box = sandbox(t);
  const faulty = [web(81, { goto: 'nowhere' }), { ...node('10.9.9.9'), set: 'nosuch' }];
  using bench = new Bench(box, [...BASE, ...faulty]);
  await bench.quiet();
  const shown = (kind: string, name: string) =>
    box.run('nft', 'list', kind, 'inet', 'flatnet-test', name).replaceAll(/\s+/g, ' ');
  assert.match(shown('map', 'web'), /\{ "eth0" \. tcp \. 80 : goto web \}/);
  assert.match(shown('set', 'nodes'), /\{ 10\.0\.0\.1 \}/);
  const reasons = bench.reports.at(-1)?.undone.map(({ reason }) => reason) ?? [];
  assert.equal(reasons.length, 2, reasons.join());
  assert.ok(
    reasons.every((reason) => /ENOENT|no such set: nosuch/.test(reason)),
    reasons.join(),
  );
});

kernelTest('twenty-five thousand changes take one transaction, without those that are refused', async (t) => {
  const box = sandbox(t);
  const many = (first: number) =>
    Array.from({ length: 12_500 }, (_, i) => node(`10.${first + (i >> 8)}.${i & 255}.1`));
  using bench = new Bench(box, [...BASE, ...many(0)]);
  await bench.quiet();
  // The monitor may lose count of so many.
  using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns: box.netns });
  const before = await generation(socket);
  const faulty = web(81, { goto: 'nowhere' });
  bench.want([...BASE, net('10.1.0.0/25'), faulty, ...many(100)]);
  await bench.quiet();
  assert.equal(await generation(socket), nextGeneration(before));
  const held = box.run('nft', 'list', 'table', 'inet', 'flatnet-test');
  assert.equal(held.match(/\b10\.\d+\.\d+\.1\b/g)?.length, 12_501);
  const reasons = bench.reports.at(-1)?.undone.map(({ reason }) => reason) ?? [];
  assert.equal(reasons.length, 2, reasons.join());
  assert.ok(
    reasons.every((reason) => /ENOENT|overlaps 10\.1\.0\.0\/24/.test(reason)),
    reasons.join(),
  );
});
