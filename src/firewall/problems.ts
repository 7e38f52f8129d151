import { familyOf } from '../ip/address.ts';
import { type Cidr, lastIp, nthIp } from '../ip/cidr.ts';
import { type Problem, problemText } from '../problem.ts';
import { isOurTable } from '../state/ownership.ts';
import type { ForwardFacts } from './facts.ts';
import type { Packet } from './rules/packet.ts';
import {
  type BaseChain,
  NF_INET_FORWARD,
  NF_INET_PRE_ROUTING,
  type Ruleset,
  type Table,
} from './rules/ruleset.ts';
import { drops } from './rules/verdict.ts';

/**
 * Reports foreign base chains that drop pods' packets forwarded by this node, each with a fix: Docker and ufw
 * set the policy of FORWARD to drop, firewalld ends its chain with a reject. Only certain drops are reported:
 * a chain with a rule that may accept the packets on conditions we cannot evaluate is left out.
 */
export async function forwardProblems(ruleset: Ruleset, facts: ForwardFacts): Promise<Problem[]> {
  const problems = new Map<string, Problem>();
  for (const network of facts.networks) {
    for await (const { chain, table, packet } of forwarded(ruleset, network, facts)) {
      if (!(await drops(chain, packet, table))) continue;
      const found = problem(chain, network);
      problems.set(problemText(found), found);
    }
  }
  return [...problems.values()];
}

/**
 * The foreign base chains that forwarded packets of a network pass through, with each packet. The caller
 * walks each chain: the marks it sets may decide in later ones.
 */
export async function* forwarded(
  ruleset: Ruleset,
  network: Cidr,
  facts: ForwardFacts,
): AsyncGenerator<Passed & { readonly packet: Packet }> {
  const forward = await foreignChains(ruleset, NF_INET_FORWARD);
  if (forward.length === 0) return;
  // Marks set by a nat chain concern the packets it translates.
  const before = (await foreignChains(ruleset, NF_INET_PRE_ROUTING)).filter(
    ({ chain }) => chain.type !== 'nat',
  );
  const family = familyOf(network);
  const passes = ({ chain }: Passed): boolean => chain.family === 'inet' || chain.family === IP[family];
  for (const packet of packets(network, facts)) {
    // Their verdict is ignored.
    for (const { chain, table } of before.filter(passes)) await drops(chain, packet, table);
    for (const passed of forward.filter(passes)) yield { ...passed, packet };
  }
}

const IP = { 4: 'ip', 6: 'ip6' } as const;

type Passed = { readonly chain: BaseChain; readonly table: Table };

async function foreignChains(ruleset: Ruleset, hook: number): Promise<Passed[]> {
  const chains = await ruleset.baseChains(hook);
  return chains
    .filter(({ table }) => !isOurTable(table))
    .map((chain) => ({ chain, table: ruleset.table(chain) }));
}

/** A packet from a local pod to a remote one, and one in the other direction. */
function packets(network: Cidr, { podDevice, outDevice }: ForwardFacts): Packet[] {
  const out = outDevice[familyOf(network)];
  if (out === undefined) return [];
  const [source, target] = [nthIp(network, 0), lastIp(network)];
  return [
    { source, target, from: podDevice, to: out, written: new Set() },
    { source: target, target: source, from: out, to: podDevice, written: new Set() },
  ];
}

function problem(chain: BaseChain, network: Cidr): Problem {
  const cause = `nft chain ${chain.family} ${chain.table} ${chain.chain} drops ${network}`;
  return {
    id: 'firewall-drops-pods',
    severity: 'error',
    what: 'pods are cut off',
    cause,
    fix: acceptingFix(chain, network),
  };
}

/** Returns the commands that make the chain accept the network. */
export function acceptingFix(chain: BaseChain, network: Cidr): string {
  const family = familyOf(network);
  if (chain.table === 'firewalld') {
    return `firewall-cmd --permanent --zone=trusted --add-source=${network} && firewall-cmd --reload`;
  }
  // iptables' own chain, as nftables shows it.
  if (chain.table === 'filter' && chain.chain === 'FORWARD' && chain.family !== 'inet') {
    const command = family === 4 ? 'iptables' : 'ip6tables';
    return `${command} -I FORWARD -s ${network} -j ACCEPT; ${command} -I FORWARD -d ${network} -j ACCEPT`;
  }
  const place = `nft insert rule ${chain.family} ${chain.table} ${chain.chain}`;
  const address = family === 4 ? 'ip' : 'ip6';
  return `${place} ${address} saddr ${network} accept; ${place} ${address} daddr ${network} accept`;
}
