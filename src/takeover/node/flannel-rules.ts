import { createHash } from 'node:crypto';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../linux/netlink/socket.ts';
import {
  chainDelete,
  chainDump,
  type RuleLead,
  ruleDelete,
  ruleLeadDump,
  tableDelete,
} from '../../linux/nftables/rule.ts';
import { listTables } from '../../linux/nftables/tables.ts';
import { commit } from '../../linux/nftables/transaction.ts';
import type { FoundRules } from '../flannel/found.ts';

/** flanneld's chains in the tables of iptables, and its own tables with EnableNFTables. */
const CHAINS: readonly string[] = ['FLANNEL-POSTRTG', 'FLANNEL-FWD'];
const TABLES: readonly string[] = ['flannel-ipv4', 'flannel-ipv6'];

/** The chain that leads to portmap's own, one for each attachment. */
const PORTMAP = 'CNI-HOSTPORT-DNAT';

/** portmap's own tables with its nftables backend, and their chains with rules by container. */
const PORTMAP_TABLE = 'cni_hostport';
const PORTMAP_CHAINS: readonly string[] = ['hostports', 'hostip_hostports', 'masquerading'];

/** Finds flannel's rules, and portmap's for these networks. Those of iptables-legacy cannot be seen. */
export async function readRules(networks: readonly string[]): Promise<FoundRules[]> {
  using socket = NetlinkSocket.open(NETLINK_NETFILTER);
  const found: FoundRules[] = [];
  for (const { family, table } of await listTables(socket)) {
    if (family !== 'ip' && family !== 'ip6') continue;
    if (table === PORTMAP_TABLE) found.push(...(await portmapRules(socket, { family, table })));
    const names = await socket.dump(chainDump({ family, table }));
    const own = names.filter((name) => CHAINS.includes(name));
    if (own.length === 0 && !names.includes(PORTMAP) && !TABLES.includes(table)) continue;
    const all = await socket.dump(ruleLeadDump({ family, table }));
    const add = (chains: readonly string[], container?: string): void =>
      void found.push({
        family,
        table,
        chains,
        leads: leadsTo(all, chains).length,
        size: all.filter(({ chain }) => chains.includes(chain)).length,
        ...(container !== undefined && { container }),
      });
    if (TABLES.includes(table)) found.push({ family, table, leads: 0, size: all.length });
    if (own.length > 0) add(own);
    for (const [container, chains] of portmapChains(all, networks)) add([...chains], container);
  }
  return found;
}

/**
 * portmap's rules of any network in its own tables. They have the container in their comment, and say nothing
 * of the network.
 */
async function portmapRules(
  socket: NetlinkSocket,
  id: { readonly family: 'ip' | 'ip6'; readonly table: string },
): Promise<FoundRules[]> {
  const all = await socket.dump(ruleLeadDump(id));
  const own = all.filter(({ chain, comment = '' }) => PORTMAP_CHAINS.includes(chain) && comment !== '');
  return [...Map.groupBy(own, ({ comment = '' }) => comment)].map(([comment, rules]) => ({
    ...id,
    chains: [...new Set(rules.map(({ chain }) => chain))],
    leads: 0,
    size: rules.length,
    container: comment,
    comment,
  }));
}

/** Removes such rules, all of a table at once: no packet meets a half of them. */
export async function removeRules({ family, table, chains, comment }: FoundRules): Promise<void> {
  using socket = NetlinkSocket.open(NETLINK_NETFILTER);
  const id = { family, table };
  if (chains && comment !== undefined) {
    const all = await socket.dump(ruleLeadDump(id));
    const own = all.filter((rule) => chains.includes(rule.chain) && rule.comment === comment);
    return commit(
      socket,
      own.map(({ chain, handle }) => ruleDelete(id, chain, handle)),
    );
  }
  if (!chains) return commit(socket, [tableDelete(id)]);
  const leads = leadsTo(await socket.dump(ruleLeadDump(id)), chains);
  await commit(socket, [
    ...leads.map(({ chain, handle }) => ruleDelete(id, chain, handle)),
    ...chains.map((chain) => ruleDelete(id, chain)),
    ...chains.map((chain) => chainDelete(id, chain)),
  ]);
}

/** The rules of other chains that lead to these. */
function leadsTo(all: readonly RuleLead[], chains: readonly string[]): RuleLead[] {
  return all.filter(({ chain, to }) => !chains.includes(chain) && to.some((each) => chains.includes(each)));
}

/** portmap's chains by container: its comment says whose each is, and its name proves that. */
function portmapChains(
  all: readonly RuleLead[],
  networks: readonly string[],
): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, Set<string>>();
  for (const { chain, to, comment = '' } of all) {
    const [, network = '', container = ''] = /^dnat name: "([^"]*)" id: "([^"]+)"/.exec(comment) ?? [];
    const [target] = to;
    if (chain !== PORTMAP || target === undefined || !networks.includes(network)) continue;
    if (target !== portmapChain(network, container)) continue;
    found.set(container, (found.get(container) ?? new Set()).add(target));
  }
  return found;
}

/** As portmap names the chain of an attachment. */
function portmapChain(network: string, containerId: string): string {
  const hash = createHash('sha512').update(`${network}${containerId}`).digest('hex');
  return `CNI-DN-${hash}`.slice(0, 28);
}
