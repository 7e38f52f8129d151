import { attributesIn, attributesOf, type DumpRequest, type Request, stringOf } from '../netlink/message.ts';
import * as nft from './message.ts';

const NFT_MSG_DELTABLE = 2;
const NFT_MSG_DELCHAIN = 5;
const NFT_MSG_DELRULE = 8;
const NFTA_CHAIN_NAME = 3;
const NFTA_RULE_CHAIN = 2;
const NFTA_RULE_HANDLE = 3;
const NFTA_RULE_USERDATA = 7;
const NFTNL_UDATA_RULE_COMMENT = 0;
const NFTA_IMMEDIATE_DATA = 2;
const NFTA_MATCH_NAME = 1;
const NFTA_MATCH_INFO = 3;

/** A rule of any program's, as far as it leads to other chains. */
export type RuleLead = {
  readonly chain: string;
  readonly handle: bigint;
  /** The chains that it jumps or goes to. */
  readonly to: readonly string[];
  /** What its maker says of it: iptables' `-m comment`, or nft's own. */
  readonly comment?: string;
};

/** The names of a table's chains. */
export function chainDump(table: nft.TableId): DumpRequest<string> {
  return {
    ...nft.query(table, nft.NFT_MSG_GETCHAIN, 'chains'),
    payload: nft.nftWriter(table.family).finish(),
    decode: (message) => {
      const name = nft.nftAttributes(message).get(NFTA_CHAIN_NAME);
      return name && nft.tableOf(message)?.table === table.table ? stringOf(name) : undefined;
    },
  };
}

/** Where a table's rules lead, whoever made them. */
export function ruleLeadDump(table: nft.TableId): DumpRequest<RuleLead> {
  return {
    ...nft.query(table, nft.NFT_MSG_GETRULE, 'rules'),
    decode: (message) => {
      const attributes = nft.nftAttributes(message);
      const chain = attributes.get(NFTA_RULE_CHAIN);
      const handle = attributes.get(NFTA_RULE_HANDLE);
      if (!chain || !handle || nft.tableOf(message)?.table !== table.table) return undefined;
      const list = attributes.get(nft.NFTA_RULE_EXPRESSIONS) ?? Buffer.alloc(0);
      const expressions = [...attributesIn(list)].map(([, expression]) => expression);
      const to = expressions.flatMap((expression) => targetOf(expression) ?? []);
      const notes = expressions.flatMap((expression) => noteOf(expression) ?? []);
      const comment = notes[0] ?? ownComment(attributes.get(NFTA_RULE_USERDATA));
      return {
        chain: stringOf(chain),
        handle: handle.readBigUInt64BE(),
        to,
        ...(comment !== undefined && { comment }),
      };
    },
  };
}

/** The text of iptables' extension comment. */
function noteOf(expression: Buffer): string | undefined {
  const attributes = attributesOf(expression);
  const data = attributes.get(nft.NFTA_EXPR_DATA);
  if (stringOf(attributes.get(nft.NFTA_EXPR_NAME) ?? Buffer.alloc(0)) !== 'match' || !data) return undefined;
  const match = attributesOf(data);
  const info = match.get(NFTA_MATCH_INFO);
  return info && stringOf(match.get(NFTA_MATCH_NAME) ?? Buffer.alloc(0)) === 'comment'
    ? stringOf(info)
    : undefined;
}

/** nft's comment is the first of a rule's user data, which are type, length and value each. */
function ownComment(data: Buffer | undefined): string | undefined {
  return data && data.length > 2 && data[0] === NFTNL_UDATA_RULE_COMMENT
    ? stringOf(data.subarray(2, 2 + (data[1] ?? 0)))
    : undefined;
}

/** The chain that an expression jumps or goes to. */
function targetOf(expression: Buffer): string | undefined {
  const attributes = attributesOf(expression);
  const data = attributes.get(nft.NFTA_EXPR_DATA);
  if (stringOf(attributes.get(nft.NFTA_EXPR_NAME) ?? Buffer.alloc(0)) !== 'immediate' || !data)
    return undefined;
  const content = attributesOf(data).get(NFTA_IMMEDIATE_DATA);
  const verdict = content && attributesOf(content).get(nft.NFTA_DATA_VERDICT);
  const chain = verdict && attributesOf(verdict).get(nft.NFTA_VERDICT_CHAIN);
  return chain && stringOf(chain);
}

/** Removes one rule, or without `handle` all rules of the chain. */
export function ruleDelete(table: nft.TableId, chain: string, handle?: bigint): Request {
  const writer = nft.nftWriter(table.family).string(nft.NFTA_TABLE_NAME, table.table);
  writer.string(NFTA_RULE_CHAIN, chain);
  if (handle !== undefined) {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(handle);
    writer.bytes(NFTA_RULE_HANDLE, bytes);
  }
  return remove(NFT_MSG_DELRULE, writer.finish(), `rule of ${table.family} ${table.table} ${chain}`);
}

/** Removes a chain without rules that no rule leads to. */
export function chainDelete(table: nft.TableId, chain: string): Request {
  const writer = nft.nftWriter(table.family).string(nft.NFTA_TABLE_NAME, table.table);
  const payload = writer.string(NFTA_CHAIN_NAME, chain).finish();
  return remove(NFT_MSG_DELCHAIN, payload, `chain ${table.family} ${table.table} ${chain}`);
}

/** Removes a table with all that is in it. */
export function tableDelete({ family, table }: nft.TableId): Request {
  const payload = nft.nftWriter(family).string(nft.NFTA_TABLE_NAME, table).finish();
  return remove(NFT_MSG_DELTABLE, payload, `table ${family} ${table}`);
}

function remove(command: number, payload: Buffer, object: string): Request {
  return { operation: 'nft delete', object, type: nft.nftType(command), flags: 0, payload };
}
