import { tableText } from '../../linux/nftables/values/render.ts';
import { type Table, type TableId, tableName } from '../../linux/nftables/values/table.ts';
import { equal } from '../kind.ts';
import { isOurTable } from '../ownership.ts';
import type { NftKind } from '../protocols/nftables.ts';

export type { Chain, Rule, SetValue, Table, TableId } from '../../linux/nftables/values/table.ts';
export { isOptional } from '../../linux/nftables/values/table.ts';

/** The structure of a table: chains, sets and maps, without elements. Any change replaces it as a whole. */
export type NftTableItem = Table & { readonly kind: 'nft-table' };

export const nftTable: NftKind<NftTableItem> = {
  kind: 'nft-table',
  executor: 'nftables',
  key: tableKey,
  stage: () => 'tables',
  affectsOthers: () => true,
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

/** The members of a set in a node's forwarding tables, initially empty. */
export function membersOf(sets: Map<string, Set<string>>, table: TableId, set: string): Set<string> {
  const name = `${tableName(table)} ${set}`;
  const members = sets.get(name) ?? new Set();
  sets.set(name, members);
  return members;
}

export function tableKey(table: TableId): string {
  return `nft-table ${tableName(table)}`;
}
