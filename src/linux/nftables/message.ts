import type { Attributes, DumpRequest, Message } from '../netlink/message.ts';
import { attributesOf, stringOf, Writer } from '../netlink/message.ts';
import type { TableFamily, TableId } from './values/table.ts';

export type { TableFamily, TableId } from './values/table.ts';

/** linux/netfilter/nfnetlink.h and nf_tables.h. */
export const NFNL_SUBSYS_NFTABLES = 10;
export const NFNL_MSG_BATCH_BEGIN = 0x10;
export const NFNL_MSG_BATCH_END = 0x11;
const NFGENMSG_SIZE = 4;

export const NFT_MSG_NEWTABLE = 0;
export const NFT_MSG_GETTABLE = 1;
export const NFT_MSG_NEWCHAIN = 3;
export const NFT_MSG_GETCHAIN = 4;
export const NFT_MSG_GETRULE = 7;
export const NFT_MSG_GETSET = 10;
export const NFT_MSG_NEWSETELEM = 12;
export const NFT_MSG_GETSETELEM = 13;
export const NFT_MSG_DELSETELEM = 14;
export const NFT_MSG_NEWGEN = 15;
export const NFT_MSG_GETGEN = 16;
export const NFT_MSG_GETOBJ = 19;
export const NFT_MSG_NEWFLOWTABLE = 22;
export const NFT_MSG_GETFLOWTABLE = 23;
export const NFT_MSG_DELFLOWTABLE = 24;

/** Attribute 1 of every kind of object is the name of its table. */
export const NFTA_TABLE_NAME = 1;
export const NFTA_RULE_EXPRESSIONS = 4;
export const NFTA_EXPR_NAME = 1;
export const NFTA_EXPR_DATA = 2;
export const NFTA_SET_ELEM_LIST_SET = 2;
export const NFTA_SET_ELEM_LIST_ELEMENTS = 3;
export const NFTA_LIST_ELEM = 1;
export const NFTA_SET_ELEM_KEY = 1;
export const NFTA_SET_ELEM_DATA = 2;
export const NFTA_SET_ELEM_FLAGS = 3;
export const NFTA_SET_ELEM_TIMEOUT = 4;
export const NFTA_SET_ELEM_EXPR = 7;
export const NFTA_SET_ELEM_KEY_END = 10;
export const NFT_SET_ELEM_INTERVAL_END = 1;
export const NFTA_DATA_VALUE = 1;
export const NFTA_DATA_VERDICT = 2;
export const NFTA_VERDICT_CODE = 1;
export const NFTA_VERDICT_CHAIN = 2;

/** linux/netfilter.h and nf_tables.h: NF_DROP, NF_ACCEPT, NFT_CONTINUE, NFT_JUMP, NFT_GOTO, NFT_RETURN. */
export const VERDICTS = { drop: 0, accept: 1, continue: -1, jump: -3, goto: -4, return: -5 } as const;
type VerdictName = keyof typeof VERDICTS;

export function isVerdict(text: string): text is VerdictName {
  return text in VERDICTS;
}

/** linux/netfilter.h: NFPROTO_*. */
const FAMILIES = { inet: 1, ip: 2, arp: 3, netdev: 5, bridge: 7, ip6: 10 } as const satisfies Record<
  TableFamily,
  number
>;
const FAMILY_NAMES = new Map<number, TableFamily>(
  Object.entries(FAMILIES).map(([name, number]) => [number, name as TableFamily]),
);

/** The message type of an nftables command. */
export function nftType(command: number): number {
  return (NFNL_SUBSYS_NFTABLES << 8) | command;
}

/** The command of a message; undefined for another subsystem. */
export function nftCommand({ type }: Message): number | undefined {
  return type >> 8 === NFNL_SUBSYS_NFTABLES ? type & 0xff : undefined;
}

/** Returns a writer with the nfnetlink header. Without a family, a dump covers all families. */
export function nftWriter(family?: TableFamily): Writer {
  return new Writer().header(NFGENMSG_SIZE, (header) => {
    header[0] = family === undefined ? 0 : FAMILIES[family];
  });
}

/** The payload of a transaction's BEGIN and END. */
export function batchMark(): Buffer {
  return new Writer()
    .header(NFGENMSG_SIZE, (header) => {
      header.writeUInt16BE(NFNL_SUBSYS_NFTABLES, 2);
    })
    .finish();
}

export function nftAttributes({ payload }: Message): Attributes {
  return attributesOf(payload, NFGENMSG_SIZE);
}

/** The table a message is about. */
export function tableOf(message: Message): TableId | undefined {
  const family = FAMILY_NAMES.get(message.payload.readUInt8(0));
  const table = nftAttributes(message).get(NFTA_TABLE_NAME);
  return family && table && { family, table: stringOf(table) };
}

/** Queries a table's objects of one kind; none if the table is gone. `what`: the object, for errors. */
export function query(
  { family, table }: TableId,
  command: number,
  what: string,
): Omit<DumpRequest<never>, 'decode'> {
  return {
    operation: 'nft list',
    object: `${what} ${family} ${table}`.trim(),
    type: nftType(command),
    flags: 0,
    payload: nftWriter(family).string(NFTA_TABLE_NAME, table).finish(),
    emptyOn: 'ENOENT',
  };
}
