import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isConstrained, refusal } from '../../src/agent/admission.ts';
import { FlatnetError } from '../../src/error.ts';
import type { Item } from '../../src/state/item.ts';
import type { Undone } from '../../src/state/undone.ts';

const table = (family: 'bridge' | 'ip'): Item => ({
  kind: 'nft-table',
  family,
  table: 'flatnet-x',
  chains: [],
});
const element = (family: 'bridge' | 'ip', key = '"veth1"'): Item => ({
  kind: 'nft-element',
  family,
  table: 'flatnet-x',
  set: 'ports',
  key,
});
const sysctl: Item = { kind: 'sysctl', path: 'net/ipv6/conf/veth1/accept_ra', value: '0' };
const undone = (item: Item, reason: string, error?: Error): Undone => ({
  change: { action: 'add', item },
  owner: undefined,
  reason,
  ...(error && { error }),
});
const refused = (code: 'NFTABLES' | 'KERNEL_FEATURE') => new FlatnetError('refused', { code });

test('a pod is admitted once nothing that constrains it is undone', () => {
  const pod = { items: [sysctl, element('bridge')] };
  assert.ok(isConstrained(pod));
  assert.equal(refusal(pod, { undone: [] }), undefined);
  const others = [undone(element('bridge', '"veth2"'), 'refused', refused('NFTABLES'))];
  assert.equal(refusal(pod, { undone: others }), undefined, 'another pod’s elements');
  assert.equal(refusal(pod, { undone: [undone(sysctl, 'absent')] }), undefined, 'a setting ADD has made');
});

test('a pod is refused while something that constrains it is undone, failed or waiting', () => {
  for (const family of ['bridge', 'ip'] as const) {
    const pod = { items: [sysctl, element(family)] };
    for (const error of [undefined, refused('NFTABLES'), refused('KERNEL_FEATURE')]) {
      const own = undone(element(family), 'no such set', error);
      assert.match(refusal(pod, { undone: [own] }) ?? '', /flatnet-x ports "veth1": no such set/);
    }
    const both = [
      undone(element(family), 'no such set', refused('NFTABLES')),
      undone(table(family), 'refused', refused('NFTABLES')),
    ];
    assert.match(refusal(pod, { undone: both }) ?? '', /^nft-table .*flatnet-x: refused/, 'the table is why');
  }
  const pod = { items: [element('bridge')] };
  assert.equal(refusal(pod, { undone: [], unknown: 'cannot be read' }), 'cannot be read');
});

test('a pod whose bandwidth the kernel cannot limit is refused with the reason', () => {
  const ifb: Item = { kind: 'link', name: 'ifb-1', link: { type: 'ifb' }, up: true, entries: 'kernel' };
  const bucket: Item = {
    kind: 'qdisc',
    dev: 'ifb-1',
    qdisc: { type: 'tbf', rate: 1, burst: 1, limit: 1 },
  };
  const pod = { items: [ifb, bucket] };
  assert.ok(isConstrained(pod));
  const both = [
    undone(bucket, 'device ifb-1 is absent'),
    undone(ifb, 'this kernel does not support ifb devices', refused('KERNEL_FEATURE')),
  ];
  assert.equal(refusal(pod, { undone: both }), 'link ifb-1: this kernel does not support ifb devices');
});

test('only a kernel without nftables for bridges leaves a bridged pod unguarded', () => {
  const without = (family: 'bridge' | 'ip') => [
    undone(element(family), 'no such set', refused('NFTABLES')),
    undone(table(family), 'refused', refused('KERNEL_FEATURE')),
  ];
  assert.equal(refusal({ items: [element('bridge')] }, { undone: without('bridge') }), undefined);
  assert.notEqual(refusal({ items: [element('ip')] }, { undone: without('ip') }), undefined);
});

test('a pod without constraints waits for nothing', () => {
  assert.equal(isConstrained({ items: [sysctl] }), false);
  assert.equal(isConstrained({ items: [] }), false);
});
