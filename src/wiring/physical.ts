import type { LocalPod } from '../cluster/node.ts';
import { isRouted } from '../cluster/physical.ts';
import type { PhysicalWiring } from '../cluster/wiring.ts';
import { familyOf } from '../ip/address.ts';
import type { Item } from '../state/item.ts';
import type { LinkItem } from '../state/kinds/link/item.ts';
import type { IpvlanLink, MacvlanLink } from '../state/link-types/shared-parent.ts';
import { podRoutes } from './pod-device.ts';
import { hasShim, nodeMac, shimName } from './shim.ts';
import type { OnPhysical, Wiring, WiringFacts } from './wiring.ts';

/** Each pod has an interface with a MAC of its own on the node's physical network. */
export const macvlan = onPhysical('macvlan');
/** The same with the MAC of the node's interface: for networks that accept only one at a port. */
export const ipvlan = onPhysical('ipvlan');

/**
 * The physical network carries the packets of pods, and nothing of theirs passes the node, except what they
 * and the node itself exchange: by the shim, an interface of the node's that shares the parent as pods' do.
 *
 * Neighbours are permanent on both sides, so the shim need not answer for the node's addresses: it would do
 * so for the whole physical network.
 */
function onPhysical(name: PhysicalWiring): Wiring {
  return {
    name,
    holdsSubnets: true,
    node: (facts) => {
      const physical = sharedIn(facts, name);
      return physical ? nodeItems(facts, physical) : [];
    },
    pod: (pod, facts) => {
      const physical = sharedIn(facts, name);
      return physical ? podItems(pod, facts, physical) : [];
    },
  };
}

/**
 * What pods of this wiring share with the node, if they do. Of a former wiring nobody knows the parent: its
 * pods stay on the physical network, but the node and they no longer reach each other.
 */
function sharedIn({ physical }: WiringFacts, name: PhysicalWiring): OnPhysical | undefined {
  return physical?.config.wiring === name && hasShim(physical.config) ? physical : undefined;
}

function nodeItems({ families, mtu }: WiringFacts, { config, parent }: OnPhysical): readonly Item[] {
  const name = shimName(config.wiring);
  const sysctl = (path: string, value: string): Item => ({ kind: 'sysctl', path, value });
  return [
    {
      kind: 'link',
      name,
      link: linkOf({ config, parent }),
      up: true,
      mtu,
      ...(config.wiring === 'macvlan' && { mac: nodeMac(config, parent) }),
      alias: 'flatnet shim',
      entries: 'ours',
    },
    sysctl(`net/ipv4/conf/${name}/accept_redirects`, '0'),
    sysctl(`net/ipv6/conf/${name}/accept_ra`, '0'),
    sysctl(`net/ipv6/conf/${name}/accept_redirects`, '0'),
    // It must not answer for the node's addresses, which have another MAC for the rest of the network.
    sysctl(`net/ipv4/conf/${name}/arp_ignore`, '8'),
    // Only packets of this node's own pods: routes lead to them through the shim. As it has no address, that
    // holds also where the host makes the check a loose one (net.ipv4.conf.all.rp_filter=2): then the kernel
    // lets no other source pass either (__fib_validate_source, last_resort).
    sysctl(`net/ipv4/conf/${name}/rp_filter`, '1'),
    ...(families.includes(6)
      ? [sysctl(`net/ipv6/conf/${name}/disable_ipv6`, '0'), sysctl(`net/ipv6/conf/${name}/accept_dad`, '0')]
      : []),
    // With ipvlan, pods' packets for the node arrive on the parent, and answers leave by the shim.
    ...(config.wiring === 'ipvlan' ? [sysctl(`net/ipv4/conf/${parent.dev}/rp_filter`, '2')] : []),
  ];
}

function linkOf({ config, parent: { dev } }: OnPhysical): LinkItem['link'] {
  const { wiring, mode } = config;
  return wiring === 'macvlan'
    ? { type: 'macvlan', dev, mode: mode as MacvlanLink['mode'] }
    : { type: 'ipvlan', dev, mode: mode as IpvlanLink['mode'] };
}

/** The node's routes to a pod, and the MAC it is at. */
function podItems(pod: LocalPod, { self }: WiringFacts, { config, parent }: OnPhysical): readonly Item[] {
  const dev = shimName(config.wiring);
  const mac = config.wiring === 'ipvlan' ? parent.mac : pod.mac;
  const neighbours =
    mac === undefined || isRouted(config.mode)
      ? []
      : pod.addresses.map((ip): Item => ({ kind: 'neighbour', dev, ip, mac }));
  const routes = podRoutes(pod).map((route): Item => {
    const src = self.underlay.addresses[familyOf(route.dst)];
    return { kind: 'route', type: 'unicast', dev, ...route, ...(src !== undefined && { src }) };
  });
  return [...neighbours, ...routes];
}
