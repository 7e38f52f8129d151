import type { Ip } from '../../ip/address.ts';
import { equal } from '../kind.ts';
import { OUR_TABLE } from '../ownership.ts';
import type { NftKind } from '../protocols/nftables.ts';

/** A whole table, replaced in one transaction. */
export type NftTableItem = {
  readonly kind: 'nft';
  readonly family: 'ip' | 'ip6' | 'inet';
  readonly table: string;
  /** What stands between the braces of `table FAMILY NAME { … }`, in nft's own syntax. */
  readonly body: string;
  /**
   * What the sets hold that `body` declares without elements: a change of these alone leaves the rest of the table as
   * it is. Addresses of the set's own family.
   */
  readonly sets?: Readonly<Record<string, readonly Ip[]>>;
};

export const nftTable: NftKind<NftTableItem> = {
  kind: 'nft',
  executor: 'nftables',
  key: ({ family, table }) => `nft ${family} ${table}`,
  stage: () => 'tables',
  isOurs: ({ table }) => table === OUR_TABLE,
  same: equal,
  // Chains and sets of different names.
  join: (a, b) => ({ ...a, body: `${a.body}\n${b.body}`, sets: { ...a.sets, ...b.sets } }),
  command: (item, action) =>
    action === 'add'
      ? `nft -f - <<'END'\n${tableText(item)}END`
      : `nft delete table ${item.family} ${item.table}`,
  summary: ({ family, table, body }) =>
    `nft -f … # table ${family} ${table}, ${body.split('\n').length} lines`,
  forward: ({ family, table, sets = {} }, tables) => {
    for (const [set, members] of Object.entries(sets)) {
      tables.sets.set(`${family} ${table} ${set}`, new Set(members));
    }
  },
};

/** The table with its sets filled, as `nft -f` takes it. */
export function tableText({ family, table, body, sets = {} }: NftTableItem): string {
  const elements = Object.entries(sets).filter(([, members]) => members.length > 0);
  return [
    `table ${family} ${table} {\n${body}\n}\n`,
    ...elements.map(([set, members]) => `add element ${family} ${table} ${set} { ${members.join(', ')} }\n`),
  ].join('');
}
