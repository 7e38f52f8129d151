import type { Host, HostNetwork } from '../../cluster/host.ts';
import { type Ip, isLinkLocal } from '../../ip/address.ts';
import { addressOf, cidrOf, lengthOf } from '../../ip/cidr.ts';
import type { Address } from '../../linux/address.ts';
import type { Link } from '../../linux/link/link.ts';
import type { Route } from '../../linux/route.ts';
import { protocolName, RTPROT_BIRD, RTPROT_BOOT, RTPROT_KERNEL } from '../../linux/route-protocol.ts';
import { OUR_ALIAS, OUR_PROTOCOLS } from '../../state/ownership.ts';

/** Protocols of routes to pods, and of those the kernel keeps for the addresses of interfaces. */
const NOT_THE_HOSTS: ReadonlySet<number> = new Set([...OUR_PROTOCOLS, RTPROT_BIRD, RTPROT_KERNEL]);

/** The device that kube-proxy gives the addresses of all Services to in IPVS mode (proxier.go). */
const KUBE_IPVS = 'kube-ipvs0';

type Kernel = {
  readonly links: readonly Link[];
  readonly addresses: readonly Address[];
  /** Of the main table. */
  readonly routes: readonly Route[];
  readonly isPodDevice: (name: string) => boolean;
};

/** What the host uses, without what belongs to pods: our devices and routes, those of Calico and flannel. */
export function hostOf({ links, addresses, routes, isPodDevice }: Kernel): Host {
  const others = new Map(
    links
      .filter(({ name, alias }) => name === 'lo' || !(isPodDevice(name) || alias?.startsWith(OUR_ALIAS)))
      .map((link) => [link.index, link]),
  );
  const own = addresses.filter(({ dev, address }) => others.has(dev) && isUsable(addressOf(address)));
  const connected = own.map(({ dev, address, peer }): HostNetwork => {
    const link = others.get(dev);
    return {
      cidr: cidrOf(peer ?? addressOf(address), lengthOf(address)),
      use: `the network of ${link?.name}`,
      isConnected: true,
      ...(link?.kind === 'bridge' && { isBridge: true }),
    };
  });
  const routed = routes
    .filter(({ dst, dev, nexthops, protocol = 0 }) => {
      const [device = dev] = nexthops?.map((each) => each.dev) ?? [];
      return (
        lengthOf(dst) > 0 &&
        isUsable(addressOf(dst)) &&
        !NOT_THE_HOSTS.has(protocol) &&
        (device === undefined || others.has(device))
      );
    })
    .map(({ dst, via, protocol = 0 }): HostNetwork => {
      const isUnsigned = protocol === RTPROT_BOOT && via !== undefined;
      return {
        cidr: dst,
        use: `a route of this host, proto ${protocolName(protocol)}`,
        isConnected: false,
        ...(isUnsigned && { unsignedVia: via }),
      };
    });
  const gateways = routes
    .filter(({ protocol = 0 }) => !NOT_THE_HOSTS.has(protocol))
    .flatMap(({ via, nexthops = [] }) => [via, ...nexthops.map((hop) => hop.via)])
    .filter((via) => via !== undefined);
  const services = own.filter(({ dev }) => others.get(dev)?.name === KUBE_IPVS);
  return {
    addresses: own.map(({ address }) => addressOf(address)),
    networks: unique([...connected, ...routed]),
    gateways: [...new Set(gateways)].sort(),
    interfaces: [...others.values()]
      .filter(({ name }) => name !== 'lo')
      .map(({ name, mtu, mac, master, data }) => {
        const nameOf = (index: number) => links.find((link) => link.index === index)?.name;
        const owner = master === undefined ? undefined : nameOf(master);
        const shared = data?.kind === 'ipvlan' && data.parent !== undefined ? nameOf(data.parent) : undefined;
        const mode = data?.kind === 'ipvlan' ? data.mode : undefined;
        return {
          name,
          mtu,
          ...(mac !== undefined && { mac }),
          ...(owner !== undefined && { master: owner }),
          ...(shared !== undefined && mode !== undefined && { ipvlan: { parent: shared, mode } }),
        };
      })
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    ...(services.length > 0 && { services: services.map(({ address }) => addressOf(address)).sort() }),
  };
}

/** Not loopback, which every host has, nor link-local, which means nothing beyond a link. */
function isUsable(ip: Ip): boolean {
  return !isLinkLocal(ip) && ip !== '::1' && !ip.startsWith('127.');
}

/** Sorted, so that an order that means nothing changes nothing. */
function unique(networks: readonly HostNetwork[]): HostNetwork[] {
  const byText = new Map(networks.map((network) => [`${network.cidr} ${network.use}`, network]));
  return [...byText].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, network]) => network);
}
