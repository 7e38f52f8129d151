import { type Family, ipFromBytes, ipToBytes } from '../ip/address.ts';
import { addressOf, type Cidr, lengthOf } from '../ip/cidr.ts';
import { addressFamily, ipFamily } from './netlink/family.ts';
import {
  attributesOf,
  type DumpRequest,
  type Message,
  NLM_F_CREATE,
  NLM_F_EXCL,
  type Request,
  stringOf,
  Writer,
} from './netlink/message.ts';

export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
const RTM_GETRULE = 34;

const FIB_RULE_HDR_SIZE = 12;
const FRA_DST = 1;
const FRA_SRC = 2;
const FRA_IIFNAME = 3;
const FRA_PRIORITY = 6;
const FRA_FWMARK = 10;
const FRA_SUPPRESS_PREFIXLEN = 14;
const FRA_TABLE = 15;
const FRA_FWMASK = 16;
const FRA_OIFNAME = 17;
const FRA_PROTOCOL = 21;
const FIB_RULE_INVERT = 2;

const ACTIONS = { lookup: 1, goto: 2, nop: 3, blackhole: 6, unreachable: 7, prohibit: 8 } as const;
export type RuleAction = keyof typeof ACTIONS;
const ACTION_NAMES = new Map<number, RuleAction>(
  Object.entries(ACTIONS).map(([name, number]) => [number, name as RuleAction]),
);

/** Selects the routing table for a packet. Rules are evaluated by priority, lowest number first. */
export type Rule = {
  readonly family: Family;
  readonly priority: number;
  /** Default: lookup, in `table`. */
  readonly action?: RuleAction | undefined;
  readonly table?: number | undefined;
  readonly from?: Cidr | undefined;
  readonly to?: Cidr | undefined;
  /** Names, not indexes: a rule outlives its interface. */
  readonly iif?: string | undefined;
  readonly oif?: string | undefined;
  readonly mark?: number | undefined;
  /** Default: all bits, if there is a mark. */
  readonly mask?: number | undefined;
  /** `not`: the rule applies to packets that do not match. */
  readonly invert?: boolean | undefined;
  /** Ignore matching routes with a prefix of at most this length. */
  readonly suppressPrefixLength?: number | undefined;
  /** Rule protocol (RTPROT_*). */
  readonly protocol?: number | undefined;
};

/** Like `ip rule add`. EEXIST if an equal one exists. */
export function ruleAdd(rule: Rule): Request {
  const flags = NLM_F_CREATE | NLM_F_EXCL;
  return { operation: 'rule add', object: ruleText(rule), type: RTM_NEWRULE, flags, payload: encode(rule) };
}

/**
 * Like `ip rule delete`: deletes the first rule that matches all given properties. ENOENT if there is none.
 */
export function ruleDelete(rule: Rule): Request {
  return {
    operation: 'rule delete',
    object: ruleText(rule),
    type: RTM_DELRULE,
    flags: 0,
    payload: encode(rule),
  };
}

/** Like `ip rule show`. */
export function ruleDump(family: Family): DumpRequest<Rule> {
  return {
    operation: 'rule show',
    object: `IPv${family}`,
    type: RTM_GETRULE,
    flags: 0,
    payload: new Writer()
      .header(FIB_RULE_HDR_SIZE, (header) => {
        header[0] = addressFamily(family);
      })
      .finish(),
    decode: decodeRule,
  };
}

/** Decodes RTM_NEWRULE and RTM_DELRULE; undefined for other families. */
export function decodeRule({ payload }: Message): Rule | undefined {
  const family = ipFamily(payload.readUInt8(0));
  if (!family) return undefined;
  const attributes = attributesOf(payload, FIB_RULE_HDR_SIZE);
  const network = (type: number, length: number): Cidr | undefined => {
    const bytes = attributes.get(type);
    return bytes && (`${ipFromBytes(bytes)}/${length}` as Cidr);
  };
  const text = (type: number): string | undefined => {
    const bytes = attributes.get(type);
    return bytes && stringOf(bytes);
  };
  const number = (type: number): number | undefined => attributes.get(type)?.readUInt32LE();
  const suppress = attributes.get(FRA_SUPPRESS_PREFIXLEN)?.readInt32LE();
  return {
    family,
    priority: number(FRA_PRIORITY) ?? 0,
    action: ACTION_NAMES.get(payload.readUInt8(7)),
    table: number(FRA_TABLE) || payload.readUInt8(4) || undefined,
    from: network(FRA_SRC, payload.readUInt8(2)),
    to: network(FRA_DST, payload.readUInt8(1)),
    iif: text(FRA_IIFNAME),
    oif: text(FRA_OIFNAME),
    mark: number(FRA_FWMARK),
    mask: number(FRA_FWMASK),
    invert: (payload.readUInt32LE(8) & FIB_RULE_INVERT) !== 0,
    suppressPrefixLength: suppress === -1 ? undefined : suppress,
    protocol: attributes.get(FRA_PROTOCOL)?.readUInt8(),
  };
}

/** Formats it like `ip rule`: `priority 100 from 10.0.0.0/24 lookup 7`. */
export function ruleText({ family, priority, action = 'lookup', from, to, iif, mark, table }: Rule): string {
  return [
    family === 6 ? '-6 ' : '',
    `priority ${priority}`,
    from ? ` from ${from}` : '',
    to ? ` to ${to}` : '',
    iif ? ` iif ${iif}` : '',
    mark === undefined ? '' : ` fwmark 0x${mark.toString(16)}`,
    action === 'lookup' ? ` lookup ${table}` : ` ${action}`,
  ].join('');
}

function encode(rule: Rule): Buffer {
  const { family, priority, action = 'lookup', table, from, to, mark, protocol } = rule;
  return new Writer()
    .header(FIB_RULE_HDR_SIZE, (header) => {
      header[0] = addressFamily(family);
      header[1] = to ? lengthOf(to) : 0;
      header[2] = from ? lengthOf(from) : 0;
      header[4] = table !== undefined && table < 256 ? table : 0;
      header[7] = ACTIONS[action];
      header.writeUInt32LE(rule.invert ? FIB_RULE_INVERT : 0, 8);
    })
    .u32(FRA_PRIORITY, priority)
    .bytes(FRA_SRC, from && ipToBytes(addressOf(from)))
    .bytes(FRA_DST, to && ipToBytes(addressOf(to)))
    .string(FRA_IIFNAME, rule.iif)
    .string(FRA_OIFNAME, rule.oif)
    .u32(FRA_FWMARK, mark)
    .u32(FRA_FWMASK, rule.mask)
    .u32(FRA_TABLE, table)
    .u32(FRA_SUPPRESS_PREFIXLEN, rule.suppressPrefixLength)
    .u8(FRA_PROTOCOL, protocol)
    .finish();
}
