import { attributesIn, attributesOf, type DumpRequest, stringOf } from '../netlink/message.ts';
import * as nft from './message.ts';

const NFTA_RULE_CHAIN = 2;
const NFTA_COUNTER_PACKETS = 2;

/** What one rule has counted. */
export type RuleCount = {
  /** The names of its expressions, as the kernel calls them: `counter`, `log`, `immediate`. */
  readonly expressions: readonly string[];
  readonly packets: number;
};

/** The counters of a chain's rules, in order, without rules that have none. No chain: none. */
export function chainCounts(table: nft.TableId, chain: string): DumpRequest<RuleCount> {
  return {
    ...nft.query(table, nft.NFT_MSG_GETRULE, `rules of ${chain} in`),
    payload: nft
      .nftWriter(table.family)
      .string(nft.NFTA_TABLE_NAME, table.table)
      .string(NFTA_RULE_CHAIN, chain)
      .finish(),
    decode: (message) => {
      const attributes = nft.nftAttributes(message);
      if (stringOf(attributes.get(NFTA_RULE_CHAIN) ?? Buffer.alloc(0)) !== chain) return undefined;
      const list = attributes.get(nft.NFTA_RULE_EXPRESSIONS) ?? Buffer.alloc(0);
      const expressions = [...attributesIn(list)].map(([, bytes]) => attributesOf(bytes));
      const names = expressions.map((each) => stringOf(each.get(nft.NFTA_EXPR_NAME) ?? Buffer.alloc(0)));
      const data = expressions[names.indexOf('counter')]?.get(nft.NFTA_EXPR_DATA);
      const packets = data && attributesOf(data).get(NFTA_COUNTER_PACKETS);
      return packets && { expressions: names, packets: Number(packets.readBigUInt64BE()) };
    },
  };
}
