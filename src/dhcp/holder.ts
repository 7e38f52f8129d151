import { pause } from '../async/pause.ts';
import type { Ip } from '../ip/address.ts';
import type { Mac } from '../ip/mac.ts';
import { ETH_P_ARP, PacketSocket } from '../linux/packet.ts';
import { claims, decodeArp, encodeProbe } from './protocol/arp.ts';

/**
 * How often it is asked, and the milliseconds to wait for answers to each try: far less than RFC 5227 §1.1
 * has it, as pods wait for it and are not on networks that take a second.
 */
const PROBES = 3;
const WAIT = 100;
/** Milliseconds between looks at the socket, and packets read at each. */
const POLL = 10;
const MOST_AT_ONCE = 32;

/**
 * The MAC of a machine that has an address already, or is about to take it; undefined if none says so.
 * `mac`: the one that asks. Rejects if the signal aborts.
 */
export async function holderOf(
  ip: Ip,
  { netns, dev, mac }: { readonly netns: string | number; readonly dev: number; readonly mac: Mac },
  signal: AbortSignal,
): Promise<Mac | undefined> {
  using socket = PacketSocket.open({ netns, dev, protocol: ETH_P_ARP });
  for (let probe = 0; probe < PROBES; probe++) {
    socket.send(encodeProbe(mac, ip));
    for (const end = performance.now() + WAIT; performance.now() < end; ) {
      await pause(POLL, signal);
      signal.throwIfAborted();
      for (let i = 0; i < MOST_AT_ONCE; i++) {
        const packet = socket.receive();
        if (!packet) break;
        const arp = decodeArp(packet);
        if (arp && arp.mac !== mac && claims(arp, ip)) return arp.mac;
      }
    }
  }
  return undefined;
}
