import { type HostPort, isEveryAddress } from '../cluster/host-port.ts';
import type { LocalPod } from '../cluster/node.ts';
import { type OwnPort, whyOwn } from '../cluster/own-port.ts';
import { type Family, familyOf, type Ip } from '../ip/address.ts';
import { type Cidr, contains, hostCidr, parseCidr } from '../ip/cidr.ts';
import type { Item } from '../state/item.ts';
import { elementItem, elementOf, type NftElementItem } from '../state/kinds/nft-element.ts';
import { BRIDGE } from '../wiring/bridge.ts';
import { addressMap, nearSet, portMap, tableOf } from './tables.ts';

const LOOPBACK: Partial<Record<Family, Cidr>> = { 4: parseCidr('127.0.0.0/8') };

/**
 * The items that lead a pod's host ports to it, except for those that are the node's own by now. `families`:
 * those of the network.
 */
export function hostPortItems(
  pod: LocalPod,
  families: readonly Family[],
  own: readonly OwnPort[] = [],
): readonly Item[] {
  const hostPorts = (pod.hostPorts ?? []).filter((port) => whyOwn(port, own) === undefined);
  if (hostPorts.length === 0) return [];
  const used = families.filter((family) => portElements(pod, hostPorts, family).length > 0);
  const dev = deviceOf(pod);
  return [
    ...used.flatMap((family) => [...portElements(pod, hostPorts, family), ...nearElements(pod, family)]),
    // From 127.0.0.1: a routed pod's device has the setting anyway.
    ...(dev !== undefined && used.includes(4)
      ? [{ kind: 'sysctl', path: `net/ipv4/conf/${dev}/route_localnet`, value: '1' } as const]
      : []),
  ];
}

/** The elements that lead the ports of one family to the pod. */
export function portElements(
  pod: Pick<LocalPod, 'addresses'>,
  hostPorts: readonly HostPort[],
  family: Family,
): readonly NftElementItem[] {
  const to = targetOf(pod, family);
  if (to === undefined) return [];
  const table = tableOf(family);
  return hostPorts.flatMap(({ protocol, hostPort, containerPort, hostIp }) => {
    if (hostIp !== undefined && familyOf(hostIp) !== family) return [];
    const element =
      hostIp === undefined || isEveryAddress(hostIp)
        ? elementOf(portMap(family), [protocol, hostPort], [to, containerPort])
        : elementOf(addressMap(family), [hostIp, protocol, hostPort], [to, containerPort]);
    return [elementItem(table, element)];
  });
}

/** The pod's first address of a family, as in the reference plugin. */
function targetOf({ addresses }: Pick<LocalPod, 'addresses'>, family: Family): Ip | undefined {
  return addresses.find((ip) => familyOf(ip) === family);
}

/**
 * The sources whose packets to the pod must carry an address of the node: its neighbours on a bridge, which
 * it would answer directly, the pod itself, and the host's loopback. Other sources keep their address.
 */
function nearElements(pod: LocalPod, family: Family): readonly Item[] {
  const to = targetOf(pod, family);
  if (to === undefined) return [];
  const subnet = pod.subnets?.find((each) => contains(each, to)) ?? hostCidr(to);
  return [subnet, LOOPBACK[family]].flatMap((source) =>
    source === undefined ? [] : [elementItem(tableOf(family), elementOf(nearSet(family), [source, to]))],
  );
}

/** The device through which the node reaches the pod; undefined for a routed pod, which has all settings. */
function deviceOf({ wiring, foreign, bridge, leadsVia }: LocalPod): string | undefined {
  if (wiring === 'routed') return undefined;
  return leadsVia ?? bridge ?? (foreign ? undefined : BRIDGE);
}
