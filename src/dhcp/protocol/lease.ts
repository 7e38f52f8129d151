import { unfitAddress } from '../../cluster/lawful.ts';
import { type Ip, ipToBigInt, isIp } from '../../ip/address.ts';
import {
  addressOf,
  type Cidr,
  cidrOf,
  contains,
  lastIp,
  lengthOf,
  type Prefixed,
  prefixed,
} from '../../ip/cidr.ts';
import { addressesIn, addressIn, type Message, numberIn, OPTION } from './message.ts';

/** An address that a server has given a pod for a time. Times are milliseconds since boot. */
export type Lease = {
  readonly address: Prefixed;
  readonly gateway?: Ip;
  readonly dns: readonly Ip[];
  readonly domain?: string;
  readonly server: Ip;
  /** When to ask that server for more time, when to ask any, and when the address is no longer the pod's. */
  readonly renewAt: number;
  readonly rebindAt: number;
  readonly endsAt: number;
};

/** What a server may not give, as whoever answers first is believed. */
export type LeaseRules = {
  /** The network that pods' addresses are of. */
  readonly network: Cidr;
  /** Whose an address is, if it is somebody's: a node's, a gateway's, another pod's. */
  readonly ownerOf: (ip: Ip) => string | undefined;
};

const SECOND = 1000;
/** Of a lease, in seconds: shorter ones would only make traffic. */
const LEAST_TIME = 30;
/** In seconds. Whatever a server promises, it is asked again after half of this. */
const MOST_TIME = 7 * 24 * 3600;
/** The earliest renewal, in seconds, whatever a server asks for. */
const LEAST_RENEWAL = 3;
/** No network of pods is larger, in bits of its prefix. */
const SHORTEST_PREFIX = 8;
const MOST_DNS = 8;

/**
 * Reads an offer or acknowledgement that answers a request of `since`. Returns the reason, as the end of a
 * sentence, if it cannot be used.
 */
export function leaseOf(message: Message, since: number, { network, ownerOf }: LeaseRules): Lease | string {
  const { your } = message;
  const unfit = unfitAddress(your);
  if (unfit !== undefined) return unfit;
  const length = prefixLength(message) ?? lengthOf(network);
  if (length < SHORTEST_PREFIX || length > 30) return `${your} comes with a mask of ${length} bits`;
  const own = cidrOf(your, length);
  if (!contains(network, your)) return `${your} is outside the network, ${network}`;
  if (your === addressOf(own) || your === lastIp(own)) return `${your} is no host’s address in ${own}`;
  const owner = ownerOf(your);
  if (owner !== undefined) return `${your} is ${owner}`;
  const server = addressIn(message, OPTION.server);
  if (server === undefined || unfitAddress(server) !== undefined) return 'it names no server';
  const time = numberIn(message, OPTION.leaseTime);
  if (time === undefined || time < LEAST_TIME) return `${your} is for ${time ?? 'no'} seconds`;
  const [gateway] = addressesIn(message, OPTION.router);
  const domain = domainIn(message);
  return {
    address: prefixed(your, length),
    ...(gateway !== undefined && contains(own, gateway) && gateway !== your && { gateway }),
    dns: addressesIn(message, OPTION.dns)
      .filter((ip) => unfitAddress(ip) === undefined)
      .slice(0, MOST_DNS),
    ...(domain !== undefined && { domain }),
    server,
    ...timesOf(message, since, Math.min(time, MOST_TIME)),
  };
}

/** By default, half and seven eighths of the time (RFC 2131 §4.4.5). */
function timesOf(
  message: Message,
  since: number,
  time: number,
): Pick<Lease, 'renewAt' | 'rebindAt' | 'endsAt'> {
  const renewal = numberIn(message, OPTION.renewalTime) ?? time / 2;
  const rebinding = numberIn(message, OPTION.rebindingTime) ?? (time * 7) / 8;
  const isOrdered = renewal < rebinding && rebinding < time;
  const [first, second] = isOrdered ? [renewal, rebinding] : [time / 2, (time * 7) / 8];
  return {
    renewAt: since + SECOND * Math.max(first, LEAST_RENEWAL),
    rebindAt: since + SECOND * Math.max(second, LEAST_RENEWAL),
    endsAt: since + SECOND * time,
  };
}

/** Undefined if there is no mask; -1 for one that is none. */
function prefixLength(message: Message): number | undefined {
  if (!message.options.has(OPTION.mask)) return undefined;
  const mask = addressIn(message, OPTION.mask);
  if (mask === undefined) return -1;
  const bits = ipToBigInt(mask).toString(2).padStart(32, '0');
  return /^1+0*$/.test(bits) ? bits.lastIndexOf('1') + 1 : -1;
}

/** It becomes a line of pods' /etc/resolv.conf. */
function domainIn({ options }: Message): string | undefined {
  const text = Buffer.from(options.get(OPTION.domain) ?? [])
    .toString('latin1')
    .replace(/\0+$/, '');
  const isName =
    text.length <= 253 &&
    /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/i.test(text);
  return isName && !isIp(text) ? text : undefined;
}

/** What a lease needs at a time. */
export type Phase = 'bound' | 'renewing' | 'rebinding' | 'over';

export function phaseOf({ renewAt, rebindAt, endsAt }: Lease, now: number): Phase {
  if (now >= endsAt) return 'over';
  if (now >= rebindAt) return 'rebinding';
  return now >= renewAt ? 'renewing' : 'bound';
}

/** The least time between two tries, in milliseconds (RFC 2131 §4.4.5), unless the lease is short. */
const PAUSE = 60 * SECOND;

/** When to try again after a failure: half of the time to the next phase later. */
export function nextTry(lease: Lease, now: number): number {
  const phase = phaseOf(lease, now);
  if (phase === 'over') return now + PAUSE;
  const end = phase === 'rebinding' ? lease.endsAt : lease.rebindAt;
  return Math.min(end, now + Math.max((end - now) / 2, Math.min(PAUSE, (lease.endsAt - lease.renewAt) / 10)));
}
