import assert from 'node:assert/strict';
import { familyOf, type Ip } from '../../src/ip/address.ts';
import { fieldsOf } from '../../src/linux/nftables/values/element.ts';
import { type FieldType, fieldBytes } from '../../src/linux/nftables/values/field.ts';
import type { Rule, SetValue } from '../../src/linux/nftables/values/table.ts';
import type { Compiled } from '../../src/policy/compile/compile.ts';
import type { Flow } from '../../src/policy/model/traffic.ts';
import type { NftElementItem } from '../../src/state/kinds/nft-element.ts';

/** A new connection's first packet. */
export type Packet = { readonly source: Ip; readonly destination: Ip; readonly flow: Flow };

/** What becomes of a packet, and the prefixes by which it is logged. */
export type Walked = { readonly verdict: 'accept' | 'drop'; readonly logged: readonly string[] };

/** `input`: its destination is the pod's own node. */
type Hook = 'forward' | 'input';

type Find = (key: readonly string[]) => NftElementItem | undefined;

/** Tables with their elements. */
type Held = Pick<Compiled, 'tables' | 'directory'> & {
  readonly pods: ReadonlyMap<unknown, { readonly items: readonly NftElementItem[] }>;
};

type Walk = (packet: Packet, hook?: Hook, seen?: (item: NftElementItem) => void) => Walked;

/**
 * Walks packets through the compiled tables, rule by rule, as the kernel does. `seen` is called with the
 * elements that are found.
 */
export function walker({ tables, directory, pods }: Held): Walk {
  const items = [...directory, ...[...pods.values()].flatMap((pod) => pod.items)];
  const byTable = new Map(
    tables.map((table) => {
      const own = Map.groupBy(
        items.filter(({ family }) => family === table.family),
        ({ set }) => set,
      );
      const sets = (table.sets ?? []).map((set) => [set.name, finder(set, own.get(set.name) ?? [])] as const);
      for (const name of own.keys())
        assert.ok(
          table.sets?.some((set) => set.name === name),
          `no set ${name}`,
        );
      const chains = new Map(table.chains.map((chain) => [chain.name, chain.rules]));
      return [table.family, { chains, sets: new Map(sets) }] as const;
    }),
  );
  return (packet, hook = 'forward', seen = () => {}) => {
    const family = familyOf(packet.source) === 4 ? 'ip' : 'ip6';
    const { chains, sets } = byTable.get(family) ?? assert.fail('no table');
    const find = (set: string, key: readonly string[]): NftElementItem | undefined => {
      const item = (sets.get(set) ?? assert.fail(`no set ${set}`))(key);
      if (item) seen(item);
      return item;
    };
    return chains.has(hook) ? walkTable(chains, find, packet, hook) : { verdict: 'accept', logged: [] };
  };
}

export function walked(compiled: Compiled, packet: Packet, hook?: Hook): Walked {
  return walker(compiled)(packet, hook);
}

export function walk(...of: Parameters<typeof walked>): Walked['verdict'] {
  return walked(...of).verdict;
}

/** Finds the only element that a key is in. */
function finder({ name, key: types, interval }: SetValue, elements: readonly NftElementItem[]): Find {
  const all = elements.map((item) => ({
    item,
    ranges: fieldsOf(item.key).map((field, i) => rangeOf(types[i] ?? 'mark', field)),
  }));
  for (const { item, ranges } of all) assert.equal(ranges.length, types.length, `${name}: ${item.key}`);
  const keyText = (key: readonly string[]): string[] =>
    key.map((field, i) => rangeOf(types[i] ?? 'mark', field).first);
  if (!interval) {
    const byKey = new Map(all.map(({ item, ranges }) => [ranges.map(({ first }) => first).join(), item]));
    return (key) => byKey.get(keyText(key).join());
  }
  return (key) => {
    const fields = keyText(key);
    const found = all.filter(({ ranges }) =>
      ranges.every(({ first, last }, i) => first <= (fields[i] ?? '') && (fields[i] ?? '') <= last),
    );
    assert.ok(found.length <= 1, `${name}: ${key} is in ${found.map(({ item }) => item.key)}`);
    return found[0]?.item;
  };
}

const RANGES = new Map<string, { readonly first: string; readonly last: string }>();

/** A field's least and greatest bytes, in hexadecimal digits, which sort alike. */
function rangeOf(type: FieldType, text: string): { readonly first: string; readonly last: string } {
  const known = RANGES.get(`${type} ${text}`);
  if (known) return known;
  const { first, last = first } = fieldBytes(type, text);
  const range = { first: Buffer.from(first).toString('hex'), last: Buffer.from(last).toString('hex') };
  RANGES.set(`${type} ${text}`, range);
  return range;
}

type Parsed =
  | { readonly prefix: string }
  | { readonly atNode: string }
  | { readonly fields: readonly string[]; readonly set: string; readonly verdict: string };
const PARSED = new WeakMap<readonly Rule[], readonly Parsed[]>();

/** Rules without those that do not concern a new connection's first packet. */
function parsed(rules: readonly Rule[]): readonly Parsed[] {
  const known = PARSED.get(rules);
  if (known) return known;
  const all = rules.flatMap(({ rule }): Parsed[] => {
    if (/^ct state|^icmpv6 type|name "|^update |^fib daddr type != local/.test(rule)) return [];
    const [, prefix] = /log prefix "(.*?)"/.exec(rule) ?? [];
    if (prefix !== undefined) return [{ prefix }];
    const [, atNode] = /^fib daddr type local (.*)/.exec(rule) ?? [];
    if (atNode !== undefined) return [{ atNode }];
    const [, condition = '', verdict = ''] =
      /^(?:counter |(.*) )?(accept|drop|return|(?:jump|goto) \S+|vmap @\S+)$/.exec(rule) ?? assert.fail(rule);
    const [, key = '', set = ''] = /^(.*?) ?(?:@([a-z]\S*))?$/.exec(condition) ?? [];
    return [{ fields: key === '' ? [] : key.split(' . '), set, verdict }];
  });
  PARSED.set(rules, all);
  return all;
}

function walkTable(
  chains: ReadonlyMap<string, readonly Rule[]>,
  find: (set: string, key: readonly string[]) => NftElementItem | undefined,
  { source, destination, flow }: Packet,
  hook: Hook,
): Walked {
  const logged: string[] = [];
  const name = flow.family === 4 ? 'ip' : 'ip6';
  const values: Readonly<Record<string, string | undefined>> = {
    [`${name} saddr`]: source,
    [`${name} daddr`]: destination,
    'meta l4proto': `${flow.protocol}`,
    'th dport': flow.port === undefined ? undefined : `${flow.port}`,
    '@th,0,16': kindOf(flow),
  };
  const run = (chain: string): 'accept' | 'drop' | 'return' => {
    for (const rule of parsed(chains.get(chain) ?? assert.fail(`no chain ${chain}`))) {
      if ('prefix' in rule) {
        logged.push(rule.prefix);
        continue;
      }
      if ('atNode' in rule) {
        if (hook !== 'input') continue;
        return rule.atNode === 'return' ? rule.atNode : run(rule.atNode.replace('goto ', ''));
      }
      const key = rule.fields.map((field) => values[field]);
      if (key.some((value) => value === undefined)) continue;
      let to = rule.verdict;
      if (to.startsWith('vmap')) {
        const element = find(to.slice(6), key as string[]);
        if (!element) continue;
        to = element.data ?? assert.fail('no verdict');
      } else if (rule.set !== '' && !find(rule.set, key as string[])) continue;
      const [action, target = ''] = to.split(' ');
      if (action === 'jump') {
        const result = run(target);
        if (result !== 'return') return result;
      } else if (action === 'goto') return run(target);
      else return action as 'accept' | 'drop' | 'return';
    }
    return 'return';
  };
  return { verdict: run(hook) === 'drop' ? 'drop' : 'accept', logged };
}

function kindOf({ icmp }: Flow): string {
  return icmp ? `${(icmp.type << 8) | icmp.code}` : '0';
}
