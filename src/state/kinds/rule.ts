import { FAMILIES, type Family } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';
import { type Rule, ruleAdd, ruleDelete, ruleDump } from '../../linux/rule.ts';
import { equal, words } from '../kind.ts';
import { OUR_PROTOCOL, OUR_PROTOCOLS } from '../ownership.ts';
import { contradictedKey, itemsOf, type RtnetlinkKind } from '../protocols/rtnetlink.ts';

/** Selects the routing table for a packet, like `ip rule add … lookup TABLE`. */
export type RuleItem = {
  readonly kind: 'rule';
  readonly family: Family;
  readonly priority: number;
  readonly table: number;
  readonly from?: Cidr;
  readonly to?: Cidr;
  readonly iif?: string;
  readonly mark?: number;
  /** Default: all bits. */
  readonly mask?: number;
  readonly protocol: number;
};

export const rule: RtnetlinkKind<RuleItem> = {
  kind: 'rule',
  executor: 'rtnetlink',
  // The kernel keeps rules apart that differ only in their protocol.
  key: ({ family, priority, table, protocol, from = '', to = '', iif = '', mark = '', mask = '' }) =>
    `rule ${family} ${priority} ${table} ${from} ${to} ${iif} ${mark}/${mask} ${protocol}`,
  stage: () => 'rules',
  isOurs: ({ protocol }) => OUR_PROTOCOLS.has(protocol),
  same: equal,

  dumps: () => FAMILIES.map((family) => itemsOf(ruleDump(family), itemOf)),
  requests: ({ action, item }) => [action === 'delete' ? ruleDelete(item) : ruleAdd(item)],
  isBenign: (_change, { errno }) => errno === 'EEXIST' || errno === 'ENOENT',
  contradiction: (event, { desired }) => {
    const item = event.object === 'rule' ? itemOf(event.value) : undefined;
    return item && contradictedKey(rule, item, event.type === 'del', desired);
  },

  command: (item, action) =>
    `ip ${item.family === 6 ? '-6 ' : ''}rule ${action === 'add' ? 'add' : 'del'} ${text(item)}`,
};

/** Undefined for rules of a type we never create. */
function itemOf(value: Rule): RuleItem | undefined {
  const { family, priority, action, table, from, to, iif, oif, mark, mask, protocol, invert } = value;
  if (action !== 'lookup' || table === undefined || oif !== undefined || invert) return undefined;
  const all = mask === 0xffffffff;
  return {
    kind: 'rule',
    family,
    priority,
    table,
    ...(from !== undefined && { from }),
    ...(to !== undefined && { to }),
    ...(iif !== undefined && { iif }),
    ...(mark !== undefined && { mark }),
    ...(mask !== undefined && !all && { mask }),
    protocol: protocol ?? 0,
  };
}

function text(item: RuleItem): string {
  return words(
    `priority ${item.priority}`,
    `from ${item.from ?? 'all'}`,
    item.to === undefined ? '' : `to ${item.to}`,
    item.iif === undefined ? '' : `iif ${item.iif}`,
    item.mark === undefined ? '' : `fwmark ${item.mark}${item.mask === undefined ? '' : `/${item.mask}`}`,
    `lookup ${item.table}`,
    item.protocol === OUR_PROTOCOL ? '' : `protocol ${item.protocol}`,
  );
}
