import { NETLINK_NETFILTER, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { readCounts } from '../../linux/nftables/element-dump.ts';
import { type SetValue, tableName } from '../../linux/nftables/values/table.ts';
import type { Count, Counters } from '../../policy/observe/counts.ts';
import { type NftElementItem, nftElement } from '../../state/kinds/nft-element.ts';
import type { NftTableItem } from '../../state/kinds/nft-table.ts';

/**
 * Reads the counters of elements, and for that their sets as a whole. Elements that are not there are left
 * out. `netns`: a path; by default the thread's own.
 */
export async function readCounters(
  tables: readonly NftTableItem[],
  items: readonly NftElementItem[],
  netns?: string,
): Promise<Counters> {
  const counters = new Map<string, Count>();
  if (items.length === 0) return counters;
  const holders = new Map<string, { table: NftTableItem; set: SetValue }>(
    tables.flatMap((table) =>
      (table.sets ?? []).map((set) => [`${tableName(table)} ${set.name}`, { table, set }] as const),
    ),
  );
  using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns });
  for (const [name, own] of Map.groupBy(items, (item) => `${tableName(item)} ${item.set}`)) {
    const holder = holders.get(name);
    if (!holder) continue;
    const found = new Map(
      (await readCounts(socket, holder.table, holder.set)).map((each) => [each.key, each]),
    );
    for (const item of own) {
      const count = found.get(item.key);
      if (count)
        counters.set(nftElement.key(item), { packets: Number(count.packets), bytes: Number(count.bytes) });
    }
  }
  return counters;
}
