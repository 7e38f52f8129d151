import { closeSync } from 'node:fs';
import { FlatnetError } from '../../error.ts';
import { NLM_F_CREATE, type Request } from '../netlink/message.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../netlink/socket.ts';
import { anonymousNetns } from '../netns.ts';
import * as nft from './message.ts';
import { commit } from './transaction.ts';
import type { TableFamily } from './values/table.ts';

const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_CHAIN_HOOK = 4;
const NFTA_CHAIN_TYPE = 7;
const NFTA_HOOK_HOOKNUM = 1;
const NFTA_HOOK_PRIORITY = 2;
/** `prerouting` of `ip`, `ip6`, `inet` and `bridge`, `input` of `arp`. */
const FIRST_HOOK = 0;

/** The table family, or its filter chains, are missing. */
const MISSING = ['EOPNOTSUPP', 'EAFNOSUPPORT', 'ENOENT'];

/**
 * Whether the kernel lacks a family of tables, such as a module nobody installed: tries a table with a filter
 * chain in an empty network namespace. False if that fails for another reason.
 */
export async function lacksFamily(family: Exclude<TableFamily, 'netdev'>): Promise<boolean> {
  const netns = anonymousNetns();
  try {
    using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns });
    await commit(socket, tableWithChain(family));
    return false;
  } catch (error) {
    return error instanceof FlatnetError && MISSING.includes(error.errno ?? '');
  } finally {
    closeSync(netns);
  }
}

function tableWithChain(family: TableFamily): Request[] {
  const [table, chain] = ['probe', 'probe'];
  const request = (what: string, command: number, payload: Buffer): Request => ({
    operation: 'nft create',
    object: `${what} ${family} ${table}`,
    type: nft.nftType(command),
    flags: NLM_F_CREATE,
    payload,
  });
  return [
    request('table', nft.NFT_MSG_NEWTABLE, nft.nftWriter(family).string(nft.NFTA_TABLE_NAME, table).finish()),
    request(
      'chain',
      nft.NFT_MSG_NEWCHAIN,
      nft
        .nftWriter(family)
        .string(NFTA_CHAIN_TABLE, table)
        .string(NFTA_CHAIN_NAME, chain)
        .nested(NFTA_CHAIN_HOOK, (hook) =>
          hook.be32(NFTA_HOOK_HOOKNUM, FIRST_HOOK).be32(NFTA_HOOK_PRIORITY, 0),
        )
        .string(NFTA_CHAIN_TYPE, 'filter')
        .finish(),
    ),
  ];
}
