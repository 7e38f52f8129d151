import fs from 'node:fs';
import { codeOf, FlatnetError, messageOf } from '../../error.ts';
import { withNetns } from '../netns.ts';
import * as sys from '../sys.ts';
import { AF_NETLINK } from './family.ts';

/** linux/netlink.h and asm-generic/socket.h. */
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_NO_ENOBUFS = 5;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_RCVTIMEO = 20;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;

/** Receive timeout in milliseconds: a blocked read keeps the process from exiting. */
const RECEIVE_TIMEOUT = 250;
/** Bytes; the kernel doubles the value for its own accounting. */
export const BUFFER_SIZE = 2 << 20;
/** Bytes; a queued acknowledgement takes about half of this, including the kernel's bookkeeping. */
const ACK_COST = 2048;

export type SocketOptions = {
  /** A path or a descriptor of a network namespace; by default the thread's own. */
  readonly netns?: string | number | undefined;
  /** Multicast groups to join (RTNLGRP_*, NFNLGRP_*). */
  readonly groups?: readonly number[] | undefined;
  /** For a few small requests: buffers keep their default sizes. */
  readonly isBrief?: boolean | undefined;
  /** Whether what the kernel has dropped, as its buffer was full, is no error for the reader. */
  readonly ignoresOverruns?: boolean | undefined;
};

/**
 * Opens and binds a netlink socket with the options that its readers rely on; the caller closes the returned
 * descriptor. Throws like `NetlinkSocket.open`.
 */
export function openDescriptor(protocol: number, options: SocketOptions): number {
  const create = (): number => sys.socket(AF_NETLINK, sys.SOCK_RAW | sys.SOCK_CLOEXEC, protocol);
  const fd = options.netns === undefined ? create() : withNetns(options.netns, create);
  try {
    for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
      sys.setsockopt(fd, SOL_NETLINK, option, 1);
    }
    if (options.ignoresOverruns) sys.setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1);
    const timeval = new BigInt64Array([0n, BigInt(RECEIVE_TIMEOUT * 1000)]);
    sys.setsockopt(fd, sys.SOL_SOCKET, SO_RCVTIMEO, new Uint8Array(timeval.buffer));
    if (!options.isBrief) {
      enlarge(fd, SO_RCVBUFFORCE, SO_RCVBUF, BUFFER_SIZE);
      enlargeSendBuffer(fd, BUFFER_SIZE);
    }
    const address = Buffer.alloc(12);
    address.writeUInt16LE(AF_NETLINK);
    sys.bind(fd, address);
    for (const group of options.groups ?? []) sys.setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
    return fd;
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

/** How many acknowledgements fit into the socket's receive buffer, at least 1. */
export function acknowledgementsHeld(fd: number): number {
  return Math.max(1, Math.floor(sys.getsockopt(fd, sys.SOL_SOCKET, SO_RCVBUF) / ACK_COST));
}

/** Allows writes of so many bytes. A longer one fails with EMSGSIZE: the kernel takes each as a whole. */
export function enlargeSendBuffer(fd: number, size: number): void {
  enlarge(fd, SO_SNDBUFFORCE, SO_SNDBUF, size);
}

/** The error of a read or write. */
export function ioError(operation: string, cause: unknown): FlatnetError {
  const errno = codeOf(cause) ?? 'EIO';
  return new FlatnetError(messageOf(cause), { code: 'SYSCALL', operation, errno, cause });
}

/** Enlarges a buffer beyond the system's limit if permitted (CAP_NET_ADMIN), otherwise up to it. */
function enlarge(fd: number, force: number, polite: number, size: number): void {
  try {
    sys.setsockopt(fd, sys.SOL_SOCKET, force, size);
  } catch {
    sys.setsockopt(fd, sys.SOL_SOCKET, polite, size);
  }
}
