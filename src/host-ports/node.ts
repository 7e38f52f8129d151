import type { Host } from '../cluster/host.ts';
import { PORT_PROTOCOLS } from '../cluster/host-port.ts';
import type { OwnPort } from '../cluster/own-port.ts';
import { mergedRanges } from '../cluster/port-range.ts';
import { type Family, familyOf } from '../ip/address.ts';
import { type Cidr, contains } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import { elementItem, elementOf } from '../state/kinds/nft-element.ts';
import { hostPortTables, OWN, serviceNetworkSet, serviceSet, tableOf } from './tables.ts';

export type HostPortFacts = {
  /** Those of the network. */
  readonly families: readonly Family[];
  /** The node's ports that lead to no pod. */
  readonly own: readonly OwnPort[];
  readonly host: Host;
  /** The networks of Services, as far as they are known. */
  readonly services: readonly Cidr[];
};

/** The node's part of the host ports: the tables, and what in them leads to no pod. */
export function hostPortNodeItems({ families, own, host, services }: HostPortFacts): readonly Item[] {
  return [
    ...hostPortTables(families),
    ...families.flatMap((family) => [
      ...ownElements(family, own),
      ...serviceElements(
        family,
        host,
        services.filter((cidr) => familyOf(cidr) === family),
      ),
    ]),
  ];
}

function ownElements(family: Family, own: readonly OwnPort[]): readonly Item[] {
  return PORT_PROTOCOLS.flatMap((protocol) =>
    mergedRanges(own.filter((each) => each.protocol === protocol)).map((range) =>
      elementItem(tableOf(family), elementOf(OWN, [protocol, range])),
    ),
  );
}

/**
 * The addresses of Services that are local addresses of the host, and the known networks of Services, which
 * hold until the next address is noticed. A network with an address of the node itself, such as one of
 * external IPs, is looked at address by address.
 */
function serviceElements(family: Family, host: Host, networks: readonly Cidr[]): readonly Item[] {
  const table = tableOf(family);
  const held = new Set(host.services);
  const isOwn = (cidr: Cidr): boolean => host.addresses.some((ip) => !held.has(ip) && contains(cidr, ip));
  const foreign = networks.filter((cidr) => !isOwn(cidr));
  const widest = foreign.filter((cidr) => !foreign.some((each) => each !== cidr && contains(each, cidr)));
  return [
    ...widest.map((cidr) => elementItem(table, elementOf(serviceNetworkSet(family), [cidr]))),
    ...[...held]
      .filter((ip) => familyOf(ip) === family && !widest.some((cidr) => contains(cidr, ip)))
      .map((ip) => elementItem(table, elementOf(serviceSet(family), [ip]))),
  ];
}
