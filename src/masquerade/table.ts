import type { Network } from '../cluster/network.ts';
import { type Family, familyOf } from '../ip/address.ts';
import { type Cidr, contains } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import { elementItem, elementOf } from '../state/kinds/nft-element.ts';
import type { Chain, Rule, SetValue, TableId } from '../state/kinds/nft-table.ts';
import type { PodNetworks } from './pod-networks.ts';

const TABLE = 'flatnet-masquerade';
/** The mark bit kube-proxy sets on packets that it will masquerade itself. */
const KUBE_MARK = '0x4000';
const MULTICAST: Record<Family, string> = { 4: '224.0.0.0/4', 6: 'ff00::/8' };

/** Addresses of this node's pods in subnets that it no longer holds; see `strayItems`. */
export const STRAYS = { 4: addressSet('strays', 4), 6: addressSet('strays', 6) } as const;

export function tableOf(family: Family): TableId {
  return { family: family === 4 ? 'ip' : 'ip6', table: TABLE };
}

/** Ports on which nodes themselves talk, to each other or to routers. */
export type NodePorts = { readonly tcp: readonly number[]; readonly udp: readonly number[] };

/**
 * The table that hides pod addresses from outside the pod network, and only from there. None if nothing is to
 * be hidden.
 *
 * The chain comes just after `srcnat`, where the kube-proxy and hostPort rules are: the first base chain that
 * chooses a translation wins (nf_nat_inet_fn), so their decisions stand. Unlike flannel, there is no forward
 * chain: an `accept` in one nftables base chain does not undo the drop of another.
 */
export function masqueradeItems(
  { randomFully, exclude }: Network['masquerade'],
  family: Family,
  networks: PodNetworks,
  ports: NodePorts,
): readonly Item[] {
  const { all, hidden, own, returns } = networks;
  if (hidden.length === 0) return [];
  const table = tableOf(family);
  const set = {
    pools: networkSet('pools', family),
    hidden: networkSet('hidden', family),
    own: networkSet('own', family),
    exclude: networkSet('exclude', family),
    tcp: portSet('node-tcp'),
    udp: portSet('node-udp'),
  };
  const excluded = exclude.filter((cidr) => familyOf(cidr) === family);
  const elements = [
    ...networkElements(set.pools, all),
    ...networkElements(set.hidden, hidden),
    ...networkElements(set.own, own),
    ...networkElements(set.exclude, excluded),
    ...ports.tcp.map((port) => elementOf(set.tcp, [port])),
    ...ports.udp.map((port) => elementOf(set.udp, [port])),
  ];
  return [
    {
      kind: 'nft-table',
      ...table,
      sets: [...Object.values(set), ...(returns ? [STRAYS[family]] : [])],
      chains: [postrouting(family, returns, randomFully ? 'masquerade fully-random' : 'masquerade')],
    },
    ...elements.map((element) => elementItem(table, element)),
  ];
}

function addressSet(name: string, family: Family) {
  return { name, key: [family === 4 ? 'ipv4_addr' : 'ipv6_addr'] } as const satisfies SetValue;
}

function networkSet(name: string, family: Family) {
  return {
    name,
    key: [family === 4 ? 'ipv4_addr' : 'ipv6_addr'],
    interval: true,
  } as const satisfies SetValue;
}

function portSet(name: string) {
  return { name, key: ['inet_service'] } as const satisfies SetValue;
}

/** Leaves out networks contained in another one: elements of a set must not overlap. */
function networkElements(set: ReturnType<typeof networkSet>, cidrs: readonly Cidr[]) {
  const distinct = [...new Set(cidrs)];
  return distinct
    .filter((cidr) => !distinct.some((other) => other !== cidr && contains(other, cidr)))
    .map((cidr) => elementOf(set, [cidr]));
}

function postrouting(family: Family, returns: boolean, masquerade: string): Chain {
  const ip = family === 4 ? 'ip' : 'ip6';
  const rules: Rule[] = [
    { rule: `meta mark & ${KUBE_MARK} == ${KUBE_MARK} return`, comment: 'kube-proxy will masquerade' },
    ...(returns ? straysRules(ip, masquerade) : []),
    { rule: `${ip} saddr @pools ${ip} daddr @pools return`, comment: 'pods see the addresses of pods' },
    { rule: `${ip} daddr @own return`, comment: 'pods here see who called from outside' },
    { rule: `${ip} daddr @exclude return`, comment: 'configured: sees the addresses of pods' },
    { rule: `${ip} daddr ${MULTICAST[family]} return`, comment: 'multicast' },
    // A peer takes traffic from a node's address to be the node's. The pod's own address is kept, which no
    // peer answers.
    { rule: `${ip} saddr @hidden tcp dport @node-tcp return`, comment: 'no pod speaks in the node’s name' },
    { rule: `${ip} saddr @hidden udp dport @node-udp return`, comment: 'no pod speaks in the node’s name' },
    { rule: `${ip} saddr @hidden ${masquerade}`, comment: 'pod to outside' },
  ];
  if (returns) {
    rules.push(
      { rule: 'fib saddr type local return', comment: 'from this host itself' },
      { rule: `${ip} saddr @strays ${masquerade}`, comment: 'of a network that was another one' },
      {
        rule: `${ip} daddr @pools ${masquerade}`,
        comment: 'outside to a pod of another node: the answer must come back here',
      },
    );
  }
  const hook = { type: 'nat', hook: 'postrouting', priority: 'srcnat + 5' } as const;
  return { name: 'postrouting', hook, rules };
}

/**
 * Nobody but this node itself sends answers to an address of a subnet that this node has lost. The rules for
 * the nodes' own ports precede the translation here, too.
 */
function straysRules(ip: 'ip' | 'ip6', masquerade: string): Rule[] {
  const name = 'no pod speaks in the node’s name';
  return [
    { rule: `${ip} daddr @strays return`, comment: 'pods here see who called, with former addresses too' },
    { rule: `${ip} saddr @strays tcp dport @node-tcp return`, comment: name },
    { rule: `${ip} saddr @strays udp dport @node-udp return`, comment: name },
    {
      rule: `${ip} saddr @strays ${ip} daddr @pools ${ip} daddr != @own ${masquerade}`,
      comment: 'from a former address to a pod of another node: the answer must find its way back',
    },
  ];
}
