import type { Self } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import type { Item } from '../state/item.ts';

/**
 * The sysctls that make this node a router for its pods. Enabling forwarding globally enables it for the
 * underlay too; its setting is still managed because a network manager may disable it later.
 */
export function forwardingItems(self: Self, family: Family): readonly Item[] {
  const { dev } = self.underlay;
  const underlay: Item = { kind: 'sysctl', path: `net/ipv${family}/conf/${dev}/forwarding`, value: '1' };
  if (family === 4) return [{ kind: 'sysctl', path: 'net/ipv4/ip_forward', value: '1' }, underlay];
  return [
    // A router ignores router advertisements unless accept_ra is 2, and a host may owe them its default
    // route.
    {
      kind: 'sysctl',
      path: `net/ipv6/conf/${dev}/accept_ra`,
      value: '2',
      when: '1',
    },
    { kind: 'sysctl', path: 'net/ipv6/conf/all/forwarding', value: '1' },
    // net.ipv6.conf.all.disable_ipv6=1 turns it off for every device.
    { kind: 'sysctl', path: `net/ipv6/conf/${dev}/disable_ipv6`, value: '0' },
    underlay,
  ];
}
