import assert from 'node:assert/strict';
import { type Family, familyOf, type Ip, ipCompare, parseIp } from '../../src/ip/address.ts';
import { contains, parseCidr } from '../../src/ip/cidr.ts';
import { fieldsOf } from '../../src/linux/nftables/values/element.ts';
import { type FieldType, fieldBytes } from '../../src/linux/nftables/values/field.ts';
import type { Compiled } from '../../src/policy/compile/compile.ts';
import type { Direction } from '../../src/policy/model/policy.ts';
import type { Flow } from '../../src/policy/model/traffic.ts';
import type { NftElementItem } from '../../src/state/kinds/nft-element.ts';

/** A new connection's first packet. */
export type Packet = { readonly source: Ip; readonly destination: Ip; readonly flow: Flow };

/**
 * Walks a packet through the compiled tables, rule by rule, as the kernel does: what becomes of it, and the
 * prefixes by which it is logged. `hook`: `input` if its destination is the pod's own node.
 */
export function walked(
  { tables, directory, pods }: Compiled,
  packet: Packet,
  hook: 'forward' | 'input' = 'forward',
): { readonly verdict: 'accept' | 'drop'; readonly logged: readonly string[] } {
  const logged: string[] = [];
  const family = familyOf(packet.source);
  const name = family === 4 ? 'ip' : 'ip6';
  const table = tables.find((each) => each.family === name) ?? assert.fail('no table');
  const elements = [...directory, ...[...pods.values()].flatMap(({ items }) => items)].filter(
    (each) => each.family === name,
  );
  const sets = new Map<string, NftElementItem[]>();
  for (const each of elements) sets.set(each.set, [...(sets.get(each.set) ?? []), each]);
  const find = (set: string, key: readonly string[]): NftElementItem | undefined => {
    const declared = table.sets?.find((each) => each.name === set) ?? assert.fail(`no set ${set}`);
    const found = (sets.get(set) ?? []).filter(({ key: text }) => {
      const fields = fieldsOf(text);
      assert.equal(fields.length, declared.key.length, `${set}: ${text}`);
      return fields.every((field, i) => isIn(declared.key[i] ?? 'mark', key[i] ?? '', field));
    });
    assert.ok(found.length <= 1, `${set}: ${key} is in ${found.map((each) => each.key)}`);
    return found[0];
  };
  const fields = new Map<string, string | undefined>([
    [`${name} saddr`, packet.source],
    [`${name} daddr`, packet.destination],
    ['meta l4proto', `${packet.flow.protocol}`],
    ['th dport', packet.flow.port === undefined ? undefined : `${packet.flow.port}`],
    ['@th,0,16', kindOf(packet.flow)],
  ]);
  const run = (chain: string): 'accept' | 'drop' | 'return' => {
    const { rules } = table.chains.find((each) => each.name === chain) ?? assert.fail(`no chain ${chain}`);
    for (const { rule } of rules) {
      if (/^ct state|^icmpv6 type|name "|^update |^fib daddr type != local/.test(rule)) continue;
      const [, prefix] = /log prefix "(.*?)"/.exec(rule) ?? [];
      if (prefix !== undefined) {
        logged.push(prefix);
        continue;
      }
      const [, atNode] = /^fib daddr type local (.*)/.exec(rule) ?? [];
      if (atNode !== undefined) {
        if (hook !== 'input') continue;
        return atNode === 'return' ? atNode : run(atNode.replace('goto ', ''));
      }
      const [, condition = '', verdict = ''] =
        /^(?:counter |(.*) )?(accept|drop|return|(?:jump|goto) \S+|vmap @\S+)$/.exec(rule) ??
        assert.fail(rule);
      let to = verdict;
      const [, key = '', set = ''] = /^(.*?) ?(?:@([a-z]\S*))?$/.exec(condition) ?? [];
      const values = key === '' ? [] : key.split(' . ').map((field) => fields.get(field));
      if (values.some((value) => value === undefined)) continue;
      if (verdict.startsWith('vmap')) {
        const element = find(verdict.slice(6), values as string[]);
        if (!element) continue;
        to = element.data ?? assert.fail('no verdict');
      } else if (set !== '' && !find(set, values as string[])) continue;
      const [action, target = ''] = to.split(' ');
      if (action === 'jump') {
        const result = run(target);
        if (result !== 'return') return result;
      } else if (action === 'goto') return run(target);
      else return action as 'accept' | 'drop' | 'return';
    }
    return 'return';
  };
  if (!table.chains.some(({ name: chain }) => chain === hook)) return { verdict: 'accept', logged };
  return { verdict: run(hook) === 'drop' ? 'drop' : 'accept', logged };
}

function kindOf({ icmp }: Flow): string {
  if (icmp) return `${(icmp.type << 8) | icmp.code}`;
  return '0';
}

function isIn(type: FieldType, value: string, element: string): boolean {
  if (type === 'ipv4_addr' || type === 'ipv6_addr') {
    if (element.includes('/')) return contains(parseCidr(element), parseIp(value));
    const [first = '', last = first] = element.split('-');
    return ipCompare(parseIp(first), parseIp(value)) <= 0 && ipCompare(parseIp(value), parseIp(last)) <= 0;
  }
  const { first, last = first } = fieldBytes(type, element);
  const [bytes] = [fieldBytes(type, value).first];
  return Buffer.compare(first, bytes) <= 0 && Buffer.compare(bytes, last) <= 0;
}

export function walk(...of: Parameters<typeof walked>): 'accept' | 'drop' {
  return walked(...of).verdict;
}

export type { Direction, Family };
