import type { ForwardFacts } from '../../firewall/facts.ts';
import { acceptingFix, forwarded } from '../../firewall/problems.ts';
import { readRuleset } from '../../firewall/read.ts';
import { drops, fateWithout } from '../../firewall/rules/verdict.ts';
import { familyOf } from '../../ip/address.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../linux/netlink/socket.ts';
import type { FoundRules } from '../flannel/found.ts';

/**
 * Why pods would or may be cut off without these chains at the hook forward; undefined if they certainly
 * would not be. What is not known counts as a reason: chains that stay do no harm.
 */
export async function whyNeeded(
  { family, table, chains = [] }: FoundRules,
  facts: ForwardFacts,
): Promise<string | undefined> {
  const version = family === 'ip6' ? 6 : 4;
  const networks = facts.networks.filter((network) => familyOf(network) === version);
  if (networks.length === 0) return 'the networks of the pods are not known';
  if (facts.outDevice[version] === undefined) return 'the device that leads to other nodes is not known';
  using socket = NetlinkSocket.open(NETLINK_NETFILTER);
  const ruleset = readRuleset(socket);
  for (const network of networks) {
    for await (const { chain, table: own, packet } of forwarded(ruleset, network, facts)) {
      if (chain.family !== family || chain.table !== table) {
        await drops(chain, packet, own);
        continue;
      }
      const fate = await fateWithout(chains, chain, packet, own);
      if (fate === 'same') continue;
      const does = fate === 'dropped' ? 'drops' : 'may drop';
      return `nft chain ${family} ${table} ${chain.chain} ${does} ${network}; ${acceptingFix(chain, network)}`;
    }
  }
  return undefined;
}
