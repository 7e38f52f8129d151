import { familyOf, isLinkLocal } from '../../../ip/address.ts';
import { contains } from '../../../ip/cidr.ts';
import type { Gateway } from '../configuration/facts.ts';
import type { ForeignRoute, Hop, MainTable } from './main-table.ts';

/**
 * Returns the host's routes that BIRD refuses to learn ("strange next-hop"): their gateway is on none of the
 * networks that the device's addresses span. The kernel accepts it because of another route with scope link,
 * as on machines whose address is a /32.
 */
export function gatewaysOf({ routes, onLink }: MainTable): Gateway[] {
  const best = new Map<string, ForeignRoute>();
  for (const route of routes) {
    const other = best.get(route.dst);
    if (!other || route.metric < other.metric) best.set(route.dst, route);
  }
  const isStrange = ({ via, dev, onlink }: Hop): boolean =>
    via !== undefined &&
    !onlink &&
    !(familyOf(via) === 6 && isLinkLocal(via)) &&
    !(onLink.get(dev) ?? []).some((cidr) => familyOf(cidr) === familyOf(via) && contains(cidr, via));
  return [...best.values()]
    .filter(({ type, hops }) => type === 'unicast' && hops.some(isStrange))
    .map(({ dst, hops }) => ({
      dst,
      hops: hops.flatMap(({ via, dev }) =>
        via !== undefined && familyOf(via) === familyOf(dst) ? [{ via, dev }] : [],
      ),
    }))
    .filter(({ hops }) => hops.length > 0)
    .sort((a, b) => (a.dst < b.dst ? -1 : 1));
}
