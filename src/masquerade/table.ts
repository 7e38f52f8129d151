import type { Network } from '../cluster/network.ts';
import { type Family, familyOf } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import type { PodNetworks } from './pod-networks.ts';

/** The bit kube-proxy sets on packets that it will masquerade itself. */
const KUBE_MARK = '0x4000';
const MULTICAST: Record<Family, string> = { 4: '224.0.0.0/4', 6: 'ff00::/8' };

/**
 * The table that hides pod addresses from the world outside the pod network, and nowhere else; none when nothing is to be
 * hidden. The text is the same for the same facts.
 *
 * The chain comes just after `srcnat`, where kube-proxy and hostPort rules are: the first base chain that chooses a
 * translation wins (nf_nat_inet_fn), so what they decide stands. There is no forward chain as flannel has one: an
 * `accept` in one nftables base chain does not undo the drop of another.
 */
export function masqueradeItems(
  masquerade: Network['masquerade'],
  family: Family,
  networks: PodNetworks,
): readonly Item[] {
  if (networks.hidden.length === 0) return [];
  const body = [
    ...ruleSet(family, 'pools', networks.all),
    ...ruleSet(family, 'hidden', networks.hidden),
    ...ruleSet(family, 'own', networks.own),
    ...ruleSet(
      family,
      'exclude',
      masquerade.exclude.filter((cidr) => familyOf(cidr) === family),
    ),
    chain(family, networks, masquerade.randomFully),
  ].join('\n');
  return [{ kind: 'nft', family: family === 4 ? 'ip' : 'ip6', table: 'flatnet', body }];
}

function ruleSet(family: Family, name: string, cidrs: readonly Cidr[]): string[] {
  const elements = cidrs.length === 0 ? [] : [`    elements = { ${[...cidrs].sort().join(', ')} }`];
  return [
    `  set ${name} {`,
    `    type ipv${family}_addr`,
    '    flags interval',
    '    auto-merge',
    ...elements,
    '  }',
  ];
}

/** BFD, over one hop and over many (RFC 5881, 5883). */
const BFD_PORTS = '3784, 4784';

function chain(family: Family, { returns, bgpPorts }: PodNetworks, randomFully: boolean): string {
  const ip = family === 4 ? 'ip' : 'ip6';
  const masquerade = randomFully ? 'masquerade fully-random' : 'masquerade';
  const rules: [rule: string, why: string][] = [
    [`meta mark & ${KUBE_MARK} == ${KUBE_MARK} return`, 'kube-proxy will masquerade'],
    [`${ip} saddr @pools ${ip} daddr @pools return`, 'pods see the addresses of pods'],
    [`${ip} daddr @own return`, 'pods here see who called from outside'],
    [`${ip} daddr @exclude return`, 'configured: sees the addresses of pods'],
    [`${ip} daddr ${MULTICAST[family]} return`, 'multicast'],
  ];
  if (bgpPorts.length > 0) {
    // A peer takes what comes from a node's address for the node. A pod keeps its own, which no peer answers.
    const why = 'no pod speaks BGP in the node’s name';
    rules.push([`${ip} saddr @hidden tcp dport { ${bgpPorts.join(', ')} } return`, why]);
    rules.push([`${ip} saddr @hidden udp dport { ${BFD_PORTS} } return`, why]);
  }
  rules.push([`${ip} saddr @hidden ${masquerade}`, 'pod to outside']);
  if (returns) {
    rules.push(
      ['fib saddr type local return', 'from this host itself'],
      [
        `${ip} daddr @pools ${masquerade}`,
        'outside to a pod of another node: the answer must come back here',
      ],
    );
  }
  return [
    '  chain postrouting {',
    '    type nat hook postrouting priority srcnat + 5; policy accept;',
    ...rules.map(([rule, why]) => `    ${rule} comment "${why}"`),
    '  }',
  ].join('\n');
}
