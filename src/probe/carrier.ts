import type { Carrier } from '../backends/backend.ts';
import { FlatnetError } from '../error.ts';
import { type Family, familyOf, type Ip } from '../ip/address.ts';
import { sendDatagram, sendPacket } from '../linux/datagram.ts';
import type { IcmpError } from '../linux/icmp.ts';
import type { Answer } from './evidence.ts';
import type { Pinger } from './pinger.ts';

/**
 * Too short or without a version for any tunnel: whoever has such a device drops it. Long enough for the
 * kernel to read the inner header that it expects (20 or 40 bytes), or it would not answer either.
 */
const NOTHING_INSIDE = Buffer.alloc(40);

/** A firewall refuses, rather than nobody receives: RFC 1812 §5.2.7.1, RFC 4443 §3.1. */
const FORBIDDEN: Record<Family, readonly number[]> = { 4: [9, 10, 13], 6: [1, 5, 6] };
/** Nobody there has this port, or this protocol. */
const UNWANTED: Record<Family, readonly number[]> = { 4: [2, 3], 6: [4] };

/**
 * Sends one lone packet of a tunnel's kind to a host. A kernel answers what nobody there receives by an ICMP
 * error, so it takes no program of ours at the other end, and no answer is larger than the question.
 */
export async function askCarrier(
  pinger: Pinger,
  host: Ip,
  carrier: Exclude<Carrier, 'routes'>,
): Promise<Answer> {
  const isOurs = ({ protocol, port }: IcmpError): boolean =>
    'udp' in carrier ? port === carrier.udp : protocol === carrier.protocol;
  try {
    const error = await pinger.errorAbout(host, isOurs, () =>
      'udp' in carrier
        ? sendDatagram(host, carrier.udp, new Uint8Array())
        : sendPacket(host, carrier.protocol, NOTHING_INSIDE),
    );
    return answerOf(host, error);
  } catch (error) {
    if (error instanceof FlatnetError && (error.errno === 'EPERM' || error.errno === 'EACCES'))
      return 'refused';
    if (error instanceof FlatnetError && error.errno !== undefined) return 'nothing';
    throw error;
  }
}

function answerOf(host: Ip, error: IcmpError | undefined): Answer {
  if (error === undefined) return 'nothing';
  const { type, from, code } = error;
  const family = familyOf(host);
  if (type === 'unknown-protocol') return from === host ? { unwanted: from } : 'nothing';
  if (type !== 'unreachable') return 'nothing';
  if (from === host && UNWANTED[family].includes(code)) return { unwanted: from };
  return FORBIDDEN[family].includes(code) ? { forbidden: from } : 'nothing';
}
