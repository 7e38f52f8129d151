import { closeSync } from 'node:fs';
import { familyOf, type Ip } from '../../../ip/address.ts';
import { receiveTrains } from '../../../linux/messages.ts';
import { sockaddr } from '../../../linux/sockaddr.ts';
import * as sys from '../../../linux/sys.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM = 2;
const SO_REUSEPORT = 15;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;
const SO_SNDBUFFORCE = 32;
const IPPROTO_IP = 0;
const IP_MTU_DISCOVER = 10;
const IP_PMTUDISC_DONT = 0;
const IP_FREEBIND = 15;
const IPPROTO_IPV6 = 41;
const IPV6_FREEBIND = 78;
const IPV6_V6ONLY = 26;
/** Bytes: what arrives while this process waits for a processor. */
const BUFFER = 7 << 20;

/**
 * Opens the socket to which other nodes send. One more process may open the same: the next version, which
 * takes over.
 */
export function openUnderlaySocket(local: Ip, port: number): number {
  const isIpv4 = familyOf(local) === 4;
  const fd = sys.socket(isIpv4 ? AF_INET : AF_INET6, SOCK_DGRAM | sys.SOCK_NONBLOCK | sys.SOCK_CLOEXEC, 0);
  try {
    sys.setsockopt(fd, sys.SOL_SOCKET, SO_REUSEPORT, 1);
    for (const option of [SO_RCVBUFFORCE, SO_SNDBUFFORCE]) enlarge(fd, option);
    // The device's MTU is what keeps packets from being too large, as in kernel tunnels.
    if (isIpv4) sys.setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
    else sys.setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    // The interface may lose its address and get it back.
    if (isIpv4) sys.setsockopt(fd, IPPROTO_IP, IP_FREEBIND, 1);
    else sys.setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1);
    receiveTrains(fd);
    sys.bind(fd, sockaddr(local, port));
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Without the right to, as in a user namespace, the buffer is as large as the system permits. */
function enlarge(fd: number, option: number): void {
  try {
    sys.setsockopt(fd, sys.SOL_SOCKET, option, BUFFER);
  } catch {
    sys.setsockopt(fd, sys.SOL_SOCKET, option === SO_RCVBUFFORCE ? SO_RCVBUF : SO_SNDBUF, BUFFER);
  }
}
