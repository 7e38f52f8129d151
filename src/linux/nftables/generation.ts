import { FlatnetError } from '../../error.ts';
import type { Message } from '../netlink/message.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import * as nft from './message.ts';

const NFTA_GEN_ID = 1;
const TRIES = 10;

/** The number of the last transaction in this network namespace; each has the next one. */
export function generation(socket: NetlinkSocket): Promise<number> {
  return socket.get({
    ...nft.query({ family: 'inet', table: '' }, nft.NFT_MSG_GETGEN, 'generation'),
    payload: nft.nftWriter('inet').finish(),
    decode: generationIn,
  });
}

/** The generation in a message of the kernel about it. */
export function generationIn(message: Message): number | undefined {
  return nft.nftAttributes(message).get(NFTA_GEN_ID)?.readUInt32BE();
}

/** The number after it: nf_tables_commit passes 0 over. */
export function nextGeneration(id: number): number {
  return (id + 1) >>> 0 || 1;
}

/** Whether a generation is a later one than another, round the end of all numbers too. */
export function isAfter(id: number, other: number): boolean {
  return ((id - other) | 0) > 0;
}

/** What several dumps say together: they are made again until no transaction comes between them. */
export async function consistent<T>(
  socket: NetlinkSocket,
  object: string,
  read: () => Promise<T>,
): Promise<{ readonly value: T; readonly generation: number }> {
  for (let i = 0; i < TRIES; i++) {
    const before = await generation(socket);
    const value = await read();
    if ((await generation(socket)) === before) return { value, generation: before };
  }
  throw new FlatnetError('changed without pause while it was read', {
    code: 'NETLINK',
    operation: 'nft list table',
    object,
    errno: 'EINTR',
  });
}
