import type { Item } from '../../src/state/item.ts';
import type { NftTableItem } from '../../src/state/kinds/nft-table.ts';

/** A table: its structure, the elements of each set, and its rules as text. */
export type TableContent = {
  readonly table: NftTableItem;
  readonly sets: Readonly<Record<string, readonly string[]>>;
  readonly rules: string;
};

/** Finds a table among items; undefined if there is none. */
export function tableIn(items: readonly Item[], family: string, name: string): TableContent | undefined {
  const isOf = (item: { family: string; table: string }) => item.family === family && item.table === name;
  const table = items.find((item) => item.kind === 'nft-table' && isOf(item));
  if (table?.kind !== 'nft-table') return undefined;
  const sets: Record<string, string[]> = {};
  for (const { name: set } of table.sets ?? []) sets[set] = [];
  for (const item of items) if (item.kind === 'nft-element' && isOf(item)) sets[item.set]?.push(item.key);
  const rules = table.chains.flatMap((chain) => chain.rules.map(({ rule }) => rule)).join('\n');
  return { table, sets, rules };
}
