import { tableText } from '../../linux/nftables/values/render.ts';
import { type Table, type TableId, tableName } from '../../linux/nftables/values/table.ts';
import { equal } from '../kind.ts';
import { isOurTable } from '../ownership.ts';
import type { NftKind } from '../protocols/nftables.ts';

export type { Chain, Rule, SetValue, Table, TableId } from '../../linux/nftables/values/table.ts';

/** The structure of a table: sets and maps without their elements, and chains. Always made as a whole. */
export type NftTableItem = Table & { readonly kind: 'nft-table' };

export const nftTable: NftKind<NftTableItem> = {
  kind: 'nft-table',
  executor: 'nftables',
  key: tableKey,
  stage: () => 'tables',
  entails: () => true,
  isOurs: ({ table }) => isOurTable(table),
  same: equal,
  mustRecreate: () => true,
  command: (item, action) =>
    action === 'add'
      ? `nft -f - <<'END'\n${tableText(item)}END`
      : `nft delete table ${item.family} ${item.table}`,
  summary: (item) => {
    const { sets = [], chains } = item;
    const rules = chains.reduce((sum, chain) => sum + chain.rules.length, 0);
    return `nft -f … # table ${tableName(item)}: ${sets.length} sets, ${chains.length} chains, ${rules} rules`;
  },
  forward: (item, { sets }) => {
    for (const { name } of item.sets ?? []) membersOf(sets, item, name);
  },
};

/** What a set holds in a forwarding table, which is made for it the first time. */
export function membersOf(sets: Map<string, Set<string>>, table: TableId, set: string): Set<string> {
  const name = `${tableName(table)} ${set}`;
  const members = sets.get(name) ?? new Set();
  sets.set(name, members);
  return members;
}

export function tableKey(table: TableId): string {
  return `nft-table ${tableName(table)}`;
}
