import type { Family } from '../ip/address.ts';
import { ipFamily } from './netlink/family.ts';
import { attributesOf, type Message } from './netlink/message.ts';

export const RTM_NEWNETCONF = 80;
export const RTM_DELNETCONF = 81;

const NETCONFMSG_SIZE = 4;
const NETCONFA_IFINDEX = 1;
const NETCONFA_FORWARDING = 2;
const NETCONFA_RP_FILTER = 3;
const NETCONFA_PROXY_NEIGH = 5;

/** The `dev` that stands for net.ipvN.conf.all. */
export const NETCONFA_IFINDEX_ALL = -1;

/**
 * The sysctls of net.ipvN.conf whose changes the kernel reports. A message holds the changed ones, or all.
 */
export type Netconf = {
  readonly family: Family;
  /** Interface index; -1 is `all`, -2 `default`. */
  readonly dev: number;
  /** 0 or 1. For IPv4 and `all`, this is net.ipv4.ip_forward. */
  readonly forwarding?: number | undefined;
  /** IPv4 only: 0 none, 1 strict, 2 loose. */
  readonly rpFilter?: number | undefined;
  /** 0 or 1: proxy_arp, or IPv6 proxy_ndp. */
  readonly proxyNeighbour?: number | undefined;
};

/** Decodes RTM_NEWNETCONF and RTM_DELNETCONF; undefined for families other than IPv4 and IPv6. */
export function decodeNetconf({ payload }: Message): Netconf | undefined {
  const family = ipFamily(payload.readUInt8(0));
  if (!family) return undefined;
  const attributes = attributesOf(payload, NETCONFMSG_SIZE);
  const number = (type: number): number | undefined => attributes.get(type)?.readInt32LE();
  const dev = number(NETCONFA_IFINDEX);
  if (dev === undefined) return undefined;
  return {
    family,
    dev,
    forwarding: number(NETCONFA_FORWARDING),
    rpFilter: number(NETCONFA_RP_FILTER),
    proxyNeighbour: number(NETCONFA_PROXY_NEIGH),
  };
}
