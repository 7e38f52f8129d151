import type { Node } from '../cluster/node.ts';
import { FAMILIES, type Family, familyOf } from '../ip/address.ts';
import { type Cidr, cidrOf, lengthOf } from '../ip/cidr.ts';
import type { Mac } from '../ip/mac.ts';
import type { FdbItem, Resolve } from '../state/kinds/fdb.ts';
import { subnetsOf } from './direct.ts';
import { vtepMacOf, vxlanDevice } from './vxlan-vtep.ts';

/**
 * Returns a resolver that answers misses from the peers' facts. Building it takes one pass over the peers, an
 * answer a few map look-ups. The answer to an L3 miss includes the FDB entry, which saves the L2 miss. The
 * entries must be written as reachable, not permanent: the kernel then revalidates them while in use and
 * drops idle ones.
 */
export function resolverOf(peers: Iterable<Node>, vni: number): Resolve {
  const bySubnet = new Map<Cidr, FdbItem>();
  const byMac = new Map<Mac, FdbItem>();
  const lengths: Record<Family, Set<number>> = { 4: new Set(), 6: new Set() };
  for (const node of peers) {
    for (const family of FAMILIES) {
      const mac = vtepMacOf(node, family);
      const dst = node.addresses[family];
      if (mac === undefined || dst === undefined) continue;
      const vtep: FdbItem = { kind: 'fdb', dev: vxlanDevice(vni, family), mac, dst };
      byMac.set(mac, vtep);
      for (const subnet of subnetsOf(node, family)) {
        bySubnet.set(subnet, vtep);
        lengths[family].add(lengthOf(subnet));
      }
    }
  }
  const longestFirst = (family: Family) => [...lengths[family]].sort((a, b) => b - a);
  const order: Record<Family, number[]> = { 4: longestFirst(4), 6: longestFirst(6) };

  return (miss) => {
    if ('mac' in miss) return [byMac.get(miss.mac)].filter((vtep) => vtep !== undefined);
    for (const length of order[familyOf(miss.ip)]) {
      const vtep = bySubnet.get(cidrOf(miss.ip, length));
      if (vtep) return [vtep, { kind: 'neighbour', dev: vtep.dev, ip: miss.ip, mac: vtep.mac }];
    }
    return [];
  };
}
