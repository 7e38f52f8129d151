import { type Ip, ipFromBytes } from '../ip/address.ts';
import { type Mac, macFromBytes } from '../ip/mac.ts';
import { type Address, decodeAddress, RTM_DELADDR, RTM_NEWADDR } from './address.ts';
import { decodeFdb, type Fdb } from './fdb.ts';
import { decodeFilterLoss, decodeRedirect, type Redirect, RTM_DELTFILTER, RTM_NEWTFILTER } from './filter.ts';
import { decodeLink, decodePort, type Link, type PortChange, RTM_DELLINK, RTM_NEWLINK } from './link/link.ts';
import {
  decodeNeighbour,
  NDA_DST,
  NDA_LLADDR,
  NDMSG_SIZE,
  type Neighbour,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from './neighbour.ts';
import { decodeNetconf, type Netconf, RTM_DELNETCONF, RTM_NEWNETCONF } from './netconf.ts';
import { attributesOf, type Message } from './netlink/message.ts';
import { decodeQdisc, type Qdisc, RTM_DELQDISC, RTM_NEWQDISC } from './qdisc.ts';
import { decodeRoute, type Route, RTM_DELROUTE, RTM_NEWROUTE } from './route.ts';
import { decodeRule, RTM_DELRULE, RTM_NEWRULE, type Rule } from './rule.ts';

type Change = { readonly type: 'new' | 'del'; readonly portId: number };

/** `new` also means changed. `portId` identifies the socket that caused it; 0 is the kernel itself. */
export type MonitorEvent =
  | (Change & { readonly object: 'link'; readonly value: Link })
  | (Change & { readonly object: 'port'; readonly value: PortChange })
  | (Change & { readonly object: 'address'; readonly value: Address })
  | (Change & { readonly object: 'route'; readonly value: Route })
  | (Change & { readonly object: 'neighbour'; readonly value: Neighbour })
  | (Change & { readonly object: 'fdb'; readonly value: Fdb })
  | (Change & { readonly object: 'rule'; readonly value: Rule })
  | (Change & { readonly object: 'netconf'; readonly value: Netconf })
  | (Change & { readonly object: 'qdisc'; readonly value: Qdisc })
  | (Change & { readonly object: 'redirect'; readonly value: Redirect })
  /** Some filters are gone. */
  | (Change & { readonly object: 'filter'; readonly value: Pick<Redirect, 'dev' | 'priority'> })
  | Miss
  | Overflow;

/**
 * The kernel requests a missing entry: with an IP address, its neighbour (vxlan `l3miss`, or a neighbour with
 * `app_solicit`); with only a MAC, the tunnel endpoint behind it (vxlan `l2miss`).
 */
export type Miss = {
  readonly type: 'miss';
  /** Interface index. */
  readonly dev: number;
  readonly ip: Ip | undefined;
  readonly mac: Mac | undefined;
};

/** Events were lost: only a fresh dump shows the current state. */
export type Overflow = { readonly type: 'overflow' };

/** Decodes a notification; undefined for messages of any other type or family. */
export function decodeEvent(message: Message): MonitorEvent | undefined {
  // Message types come in fours: new, delete, get, set.
  const change: Change = { type: message.type % 4 === 0 ? 'new' : 'del', portId: message.portId };
  switch (message.type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      const link = decodeLink(message);
      if (link) return { ...change, object: 'link', value: link };
      const port = decodePort(message);
      return port && { ...change, object: 'port', value: port };
    }
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      const value = decodeAddress(message);
      return value && { ...change, object: 'address', value };
    }
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      const value = decodeRoute(message);
      return value && { ...change, object: 'route', value };
    }
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: {
      const fdb = decodeFdb(message);
      if (fdb) return { ...change, object: 'fdb', value: fdb };
      const neighbour = decodeNeighbour(message);
      return neighbour && { ...change, object: 'neighbour', value: neighbour };
    }
    case RTM_GETNEIGH:
      return decodeMiss(message);
    case RTM_NEWRULE:
    case RTM_DELRULE: {
      const value = decodeRule(message);
      return value && { ...change, object: 'rule', value };
    }
    case RTM_NEWNETCONF:
    case RTM_DELNETCONF: {
      const value = decodeNetconf(message);
      return value && { ...change, object: 'netconf', value };
    }
    case RTM_NEWQDISC:
    case RTM_DELQDISC: {
      const value = decodeQdisc(message);
      return value && { ...change, object: 'qdisc', value };
    }
    case RTM_NEWTFILTER: {
      const value = decodeRedirect(message);
      return value && { ...change, object: 'redirect', value };
    }
    case RTM_DELTFILTER:
      return { ...change, object: 'filter', value: decodeFilterLoss(message) };
    default:
      return undefined;
  }
}

// The family is unreliable: vxlan sets AF_INET even for an IPv6 address, and none at all for a MAC
// (vxlan_fdb_info).
function decodeMiss({ payload }: Message): Miss {
  const attributes = attributesOf(payload, NDMSG_SIZE);
  const ip = attributes.get(NDA_DST);
  const mac = attributes.get(NDA_LLADDR);
  return {
    type: 'miss',
    dev: payload.readInt32LE(4),
    ip: ip && ipFromBytes(ip),
    mac: mac?.length === 6 ? macFromBytes(mac) : undefined,
  };
}
