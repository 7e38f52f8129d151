import type { NetlinkSocket } from '../netlink/socket.ts';
import * as nft from './message.ts';

/** The tables of all families, like `nft list tables`. */
export function listTables(socket: NetlinkSocket): Promise<nft.TableId[]> {
  return socket.dump({
    ...nft.query({ family: 'inet', table: '' }, nft.NFT_MSG_GETTABLE, 'tables'),
    payload: nft.nftWriter().finish(),
    decode: nft.tableOf,
  });
}
