import type { Self } from '../cluster/node.ts';
import type { Family } from '../ip/address.ts';
import type { Item } from '../state/item.ts';

/** What makes this node a router between its pods and the rest of the world. */
export function forwardingItems(self: Self, family: Family): readonly Item[] {
  if (family === 4) return [{ kind: 'sysctl', path: 'net/ipv4/ip_forward', value: '1' }];
  return [
    // A router ignores router advertisements unless accept_ra is 2: a host that lives by them must keep its default route.
    {
      kind: 'sysctl',
      path: `net/ipv6/conf/${self.underlay.dev}/accept_ra`,
      value: '2',
      when: '1',
    },
    { kind: 'sysctl', path: 'net/ipv6/conf/all/forwarding', value: '1' },
  ];
}
