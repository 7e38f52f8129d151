import type { Self } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import type { Item } from '../state/item.ts';

/**
 * What makes this node a router between its pods and the rest of the world. The underlay's own setting
 * follows the general one when that is switched on; it is kept because a network manager may switch it off
 * for the device later.
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
    underlay,
  ];
}
