import { FlatnetError } from '../../error.ts';
import type { Message } from '../netlink/message.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import * as nft from './message.ts';

const NFTA_GEN_ID = 1;
const TRIES = 10;

/** Reads the number of the last transaction in this network namespace. */
export function generation(socket: NetlinkSocket): Promise<number> {
  return socket.get(generationGet());
}

/** The query for it, which only a kernel with nftables answers. */
export function generationGet() {
  return {
    ...nft.query({ family: 'inet', table: '' }, nft.NFT_MSG_GETGEN, 'generation'),
    payload: nft.nftWriter('inet').finish(),
    decode: generationIn,
  };
}

/** Returns the generation that a kernel message carries. */
export function generationIn(message: Message): number | undefined {
  return nft.nftAttributes(message).get(NFTA_GEN_ID)?.readUInt32BE();
}

/** Returns the generation after `id`: nf_tables_commit skips 0. */
export function nextGeneration(id: number): number {
  return (id + 1) >>> 0 || 1;
}

/** Whether `id` is later than `other`, even across the wraparound. */
export function isAfter(id: number, other: number): boolean {
  return ((id - other) | 0) > 0;
}

/**
 * Repeats a sequence of dumps until no transaction interrupts it. Throws NETLINK EINTR after ten attempts.
 */
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
  throw new FlatnetError('kept changing while it was being read', {
    code: 'NETLINK',
    operation: 'nft list table',
    object,
    errno: 'EINTR',
  });
}
