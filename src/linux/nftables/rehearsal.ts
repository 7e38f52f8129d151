import fs from 'node:fs';
import { NETLINK_NETFILTER, NetlinkSocket } from '../netlink/socket.ts';
import { anonymousNetns } from '../netns.ts';
import { structurePrint } from './fingerprint.ts';
import { applyRuleset } from './ruleset.ts';
import { tableText } from './values/render.ts';
import type { Table } from './values/table.ts';

/**
 * The print that the structure of each table has once it is in the kernel. Nobody can compute it: nft translates rules, and the kernel
 * shows them in its own way. So they are written into a namespace made for it, where they concern nobody. Throws NFTABLES when
 * one of them is refused there.
 */
export async function rehearse(tables: readonly Table[]): Promise<string[]> {
  const netns = anonymousNetns();
  try {
    await applyRuleset(tables.map((table) => tableText(table)).join(''), { netns });
    using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns });
    const prints: string[] = [];
    for (const table of tables) prints.push((await structurePrint(socket, table)) ?? '');
    return prints;
  } finally {
    fs.closeSync(netns);
  }
}
