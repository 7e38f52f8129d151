import { createHash } from 'node:crypto';
import type { ForwardFacts } from '../../firewall/facts.ts';
import { forwardProblems } from '../../firewall/problems.ts';
import { readRuleset } from '../../firewall/read.ts';
import type { Ruleset } from '../../firewall/rules/ruleset.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../linux/netlink/socket.ts';
import type { TableId } from '../../linux/nftables/message.ts';
import { chainDelete, chainDump, ruleDelete, ruleLeadDump, tableDelete } from '../../linux/nftables/rule.ts';
import { listTables } from '../../linux/nftables/tables.ts';
import { commit } from '../../linux/nftables/transaction.ts';
import { problemText } from '../../problem.ts';
import type { FoundRules } from '../flannel/found.ts';

/** flanneld's chains in the tables of iptables, and its own tables with EnableNFTables. */
const CHAINS: readonly string[] = ['FLANNEL-POSTRTG', 'FLANNEL-FWD'];
const TABLES: readonly string[] = ['flannel-ipv4', 'flannel-ipv6'];

/** An attachment of the plugin portmap. */
export type Mapped = { readonly network: string; readonly containerId: string };

/** Finds flannel's rules, and portmap's for these attachments. Those of iptables-legacy cannot be seen. */
export async function readRules(mapped: readonly Mapped[]): Promise<FoundRules[]> {
  using socket = NetlinkSocket.open(NETLINK_NETFILTER);
  const found: FoundRules[] = [];
  const wanted = new Set([...CHAINS, ...mapped.map(portmapChain)]);
  for (const { family, table } of await listTables(socket)) {
    if (family !== 'ip' && family !== 'ip6') continue;
    if (TABLES.includes(table)) found.push({ family, table, leads: 0 });
    const chains = (await socket.dump(chainDump({ family, table }))).filter((name) => wanted.has(name));
    if (chains.length === 0) continue;
    const leads = await leadsTo({ family, table }, chains, socket);
    found.push({ family, table, chains, leads: leads.length });
  }
  return found;
}

/** Removes such rules, all of a table at once: no packet meets a half of them. */
export async function removeRules({ family, table, chains }: FoundRules): Promise<void> {
  using socket = NetlinkSocket.open(NETLINK_NETFILTER);
  const id = { family, table };
  if (!chains) return commit(socket, [tableDelete(id)]);
  const leads = await leadsTo(id, chains, socket);
  await commit(socket, [
    ...leads.map(({ chain, handle }) => ruleDelete(id, chain, handle)),
    ...chains.map((chain) => ruleDelete(id, chain)),
    ...chains.map((chain) => chainDelete(id, chain)),
  ]);
}

/** The rules of other chains that lead to these. */
async function leadsTo(id: TableId, chains: readonly string[], socket: NetlinkSocket) {
  const all = await socket.dump(ruleLeadDump(id));
  return all.filter(({ chain, to }) => !chains.includes(chain) && to.some((each) => chains.includes(each)));
}

/** As portmap names the chain of an attachment. */
function portmapChain({ network, containerId }: Mapped): string {
  const hash = createHash('sha512').update(`${network}${containerId}`).digest('hex');
  return `CNI-DN-${hash}`.slice(0, 28);
}

/** Why pods would be cut off without flannel's chains at the hook forward. */
export async function cutOffWithoutFlannel(facts: ForwardFacts): Promise<string[]> {
  using socket = NetlinkSocket.open(NETLINK_NETFILTER);
  const all = readRuleset(socket);
  const without: Ruleset = {
    baseChains: (hook) => all.baseChains(hook),
    table: (name) => {
      const table = all.table(name);
      return { ...table, rules: async (chain) => (CHAINS.includes(chain) ? [] : table.rules(chain)) };
    },
  };
  return (await forwardProblems(without, facts)).map(({ cause = '', fix = '' }) =>
    problemText({ what: cause, fix }),
  );
}
