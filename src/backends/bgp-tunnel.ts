import type { Node, Self } from '../cluster/node.ts';
import type { IpPool } from '../cluster/resources.ts';
import { familyOf, type Ip } from '../ip/address.ts';
import { hostCidr, prefixed } from '../ip/cidr.ts';
import { deviceItems } from '../state/device-settings.ts';
import type { Item } from '../state/item.ts';
import { elementItem, elementOf } from '../state/kinds/nft-element.ts';
import type { Chain, SetValue, TableId } from '../state/kinds/nft-table.ts';
import { OUR_PROTOCOL } from '../state/ownership.ts';
import { innerMtu } from './inner-mtu.ts';

/**
 * The kernel's built-in tunnel device. It has no fixed endpoints: the gateway of each route is the remote
 * end.
 */
export const IPIP_DEVICE = 'tunl0';
/** Its number among IP protocols. */
export const IPIP_PROTOCOL = 4;
/** Bytes of the outer header (RFC 2003). */
export const IPIP_OVERHEAD = 20;

/** Whether any pool requires IPIP. Disabled pools count too: their pods keep their addresses. */
export function requiresIpip(pools: readonly Pick<IpPool, 'cidr' | 'ipipMode'>[]): boolean {
  return pools.some(({ cidr, ipipMode }) => familyOf(cidr) === 4 && ipipMode !== 'Never');
}

/** Facts about the tunnel that the desired state depends on besides the pools. */
export type TunnelFacts = {
  /**
   * The tunnel device's address: the source of packets the host itself sends to pods through the tunnel.
   * Undefined until assigned.
   */
  readonly address?: Ip;
  /**
   * Whether the device only receives and no route leads into it: the pools have just started or stopped
   * asking for it, and not all nodes know yet. Absent: the pools decide.
   */
  readonly onlyReceives?: boolean;
};

/** The tunnel device, with this node's tunnel address once assigned. */
export function ipipDevice({ node, underlay, companion }: Self<TunnelFacts>): readonly Item[] {
  const items: Item[] = [
    {
      kind: 'link',
      name: IPIP_DEVICE,
      link: { type: 'ipip' },
      up: true,
      mtu: innerMtu(underlay, IPIP_OVERHEAD, 4),
      alias: 'flatnet ipip',
      entries: 'kernel',
    },
    ...deviceItems(IPIP_DEVICE, [4]),
    // A peer may reply over a different path while a pool's encapsulation changes: loose reverse path filter,
    // RFC 3704.
    { kind: 'sysctl', path: `net/ipv4/conf/${IPIP_DEVICE}/rp_filter`, value: '2' },
  ];
  if (companion?.address !== undefined) {
    items.push({ kind: 'address', dev: IPIP_DEVICE, address: prefixed(companion.address, 32) });
    const alone = hostCidr(companion.address);
    // Packets to it never get here, because it is local; but no other route announces it.
    if (node.subnets.includes(alone)) {
      items.push({ kind: 'route', type: 'blackhole', dst: alone, protocol: OUR_PROTOCOL });
    }
  }
  return items;
}

const TABLE = { family: 'ip', table: 'flatnet-tunnels' } as const satisfies TableId;
const NODES = { name: 'nodes', key: ['ipv4_addr'] } as const satisfies SetValue;

/**
 * Accepts IPIP only from nodes, because its sender can inject packets with any source into the pod network.
 * Also masquerades what this host sends to a service: the kernel chose its source before a pod of another
 * node became the destination, and that pod's node could not answer through the tunnel.
 */
export function ipipTable(): readonly Item[] {
  const receive: Chain = {
    name: 'receive',
    hook: { type: 'filter', hook: 'input', priority: 'filter' },
    rules: [
      { rule: `ip protocol ${IPIP_PROTOCOL} ip saddr != @nodes drop`, comment: 'IPIP: only nodes send it' },
    ],
  };
  // Translated on the way, it would pass for this node's own: a container of another program may send it.
  const forward: Chain = {
    name: 'forward',
    hook: { type: 'filter', hook: 'forward', priority: 'filter' },
    rules: [
      {
        rule: `ip protocol ${IPIP_PROTOCOL} ip daddr @nodes ip saddr != @nodes drop`,
        comment: 'IPIP: only nodes send it',
      },
    ],
  };
  const send: Chain = {
    name: 'send',
    hook: { type: 'nat', hook: 'postrouting', priority: 'srcnat + 4' },
    rules: [
      {
        rule: `oifname "${IPIP_DEVICE}" fib saddr type local fib saddr . oif type != local masquerade`,
        comment: 'this host to a service',
      },
    ],
  };
  return [{ kind: 'nft-table', ...TABLE, sets: [NODES], chains: [receive, forward, send] }];
}

/** A node's address in the set of permitted IPIP senders. */
export function ipipMember({ addresses }: Node): readonly Item[] {
  const ip = addresses[4];
  return ip === undefined ? [] : [elementItem(TABLE, elementOf(NODES, [ip]))];
}
