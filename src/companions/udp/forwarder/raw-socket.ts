import type { Family } from '../../../ip/address.ts';
import * as sys from '../../../linux/sys.ts';

const AF_INET = 2;
const AF_INET6 = 10;
/** Packets bring their own IP header. */
const IPPROTO_RAW = 255;

/** Opens a socket for whole packets of this node's own; undefined where the host lacks the family. */
export function openRawSocket(family: Family): number | undefined {
  const type = sys.SOCK_RAW | sys.SOCK_NONBLOCK | sys.SOCK_CLOEXEC;
  try {
    return sys.socket(family === 4 ? AF_INET : AF_INET6, type, IPPROTO_RAW);
  } catch {
    return undefined;
  }
}
