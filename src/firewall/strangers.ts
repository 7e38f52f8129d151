import { NETLINK_NETFILTER, NetlinkSocket } from '../linux/netlink/socket.ts';
import { readCounts } from '../linux/nftables/element-dump.ts';
import type { Problem } from '../problem.ts';
import type { KernelState } from '../state/item.ts';
import { isOf } from '../state/kind.ts';
import { nftTable } from '../state/kinds/nft-table.ts';

/**
 * Names the hosts whose tunnel packets this node drops: attackers, or nodes that send from an address the
 * cluster does not know. Rules of our tables count them in sets named `strangers`.
 */
export async function strangerProblems(desired: KernelState): Promise<Problem[]> {
  const sets = [...desired.values()].flatMap((item) =>
    isOf(nftTable, item)
      ? (item.sets ?? []).filter(({ name }) => name === 'strangers').map((set) => ({ table: item, set }))
      : [],
  );
  if (sets.length === 0) return [];
  using socket = NetlinkSocket.open(NETLINK_NETFILTER);
  const problems: Problem[] = [];
  for (const { table, set } of sets) {
    for (const { key, packets } of await readCounts(socket, table, set)) {
      problems.push({
        id: 'tunnel-packets-dropped',
        severity: 'warning',
        what: `packets from ${key} dropped: ${packets} in the tunnel`,
        cause: 'no node is known by this address',
        fix: 'if it is a node, let its packets leave from the address it publishes (iface, publicIp, or flanneld’s --public-ip)',
      });
    }
  }
  return problems;
}
