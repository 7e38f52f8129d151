import type { Ip } from '../../src/ip/address.ts';
import { type Fdb, fdbReplace } from '../../src/linux/fdb.ts';
import { type IcmpError, type IcmpSocket, waitForMessages } from '../../src/linux/icmp.ts';
import { NLM_F_CREATE, type Request } from '../../src/linux/netlink/message.ts';

// Requests that the codecs support but flatnet itself does not need.

export const IFA_F_PERMANENT = 0x80;
export const IFA_F_NOPREFIXROUTE = 0x200;
const NLM_F_APPEND = 0x800;
export const NUD_NOARP = 0x40;

/**
 * Like `bridge fdb append`: adds a destination, which receives a copy. For the all-zero address, the default
 * entry.
 */
export function fdbAppend(fdb: Fdb): Request {
  return { ...fdbReplace(fdb), operation: 'fdb append', flags: NLM_F_CREATE | NLM_F_APPEND };
}

export type PingResult =
  /** `nanoseconds`: round-trip time. */
  | { readonly reached: true; readonly nanoseconds: bigint }
  /** With the ICMP error received instead, if any. */
  | { readonly reached: false; readonly error: IcmpError | undefined };

/**
 * Like `ping -c 1`. Drops other messages that reach the socket in the meantime. Throws what `send` throws.
 */
export async function ping(
  socket: IcmpSocket,
  to: Ip,
  options: { timeout?: number; size?: number; signal?: AbortSignal } = {},
): Promise<PingResult> {
  const deadline = performance.now() + (options.timeout ?? 1000);
  const start = process.hrtime.bigint();
  const sequence = socket.send(to, options.size);
  for (;;) {
    for (let message = socket.receive(); message; message = socket.receive()) {
      if (message.type === 'request' || message.id !== socket.id || message.sequence !== sequence) continue;
      if (message.type !== 'reply') return { reached: false, error: message };
      if (message.from === to) return { reached: true, nanoseconds: process.hrtime.bigint() - start };
    }
    const left = deadline - performance.now();
    if (left <= 0) return { reached: false, error: undefined };
    await waitForMessages([socket], left, options.signal);
  }
}
