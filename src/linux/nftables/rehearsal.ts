import fs from 'node:fs';
import { NETLINK_NETFILTER, NetlinkSocket } from '../netlink/socket.ts';
import { anonymousNetns } from '../netns.ts';
import { structurePrint } from './fingerprint.ts';
import { applyRuleset } from './ruleset.ts';
import { tableText } from './values/render.ts';
import type { Table } from './values/table.ts';

/**
 * Determines the structure print that each table will have in the kernel, by writing the tables to an empty
 * network namespace. It can't be computed: nft compiles the rules, and the kernel dumps them in its own form.
 * Throws NFTABLES if a table is refused.
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
