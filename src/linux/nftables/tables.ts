import type { NetlinkSocket } from '../netlink/socket.ts';
import { consistent } from './generation.ts';
import * as nft from './message.ts';

/** Lists the tables of all families, like `nft list tables`. */
export async function listTables(socket: NetlinkSocket): Promise<nft.TableId[]> {
  const request = {
    ...nft.query({ family: 'inet', table: '' }, nft.NFT_MSG_GETTABLE, 'tables'),
    payload: nft.nftWriter().finish(),
    decode: nft.tableOf,
  };
  // During a commit, a dump lists a table being replaced twice.
  return (await consistent(socket, 'tables', () => socket.dump(request))).value;
}
