import type { HostPort } from '../../cluster/host-port.ts';
import { podTitle } from '../../cluster/node.ts';
import { type Ip, ipCompare } from '../../ip/address.ts';
import { hostCidr } from '../../ip/cidr.ts';
import type { Mac } from '../../ip/mac.ts';
import type { Found, FoundPort, FoundReservation, FoundResult } from './found.ts';

/** A pod of flannel's that flatnet can take over: what its record needs. */
export type Adoption = {
  readonly containerId: string;
  readonly ifName: string;
  /** The folder with its reservations. */
  readonly dir: string;
  readonly addresses: readonly Ip[];
  readonly netns: string;
  readonly netnsId: number;
  readonly hostDevice: string;
  readonly bridge: string;
  readonly mtu: number;
  readonly hairpin: boolean;
  /** As the runtime remembers it, or else as the pod shows it. */
  readonly mac: Mac;
  readonly shownMac: Mac;
  /** Whether the runtime remembers the MAC; what a pod shows may be anything. */
  readonly isMacCertain: boolean;
  readonly namespace?: string;
  readonly name?: string;
  readonly hostPorts: readonly HostPort[];
  /** Whether the plugin bandwidth has limited it. */
  readonly isLimited: boolean;
  /** Whether its ADD may still run: what the runtime will remember, such as host ports, is not known yet. */
  readonly isNew: boolean;
};

export type MatchedPods = {
  readonly adoptions: readonly Adoption[];
  /** Pods that have records already. */
  readonly known: readonly string[];
  /** What is left alone, with the reason. */
  readonly left: readonly { readonly object: string; readonly why: string }[];
};

/**
 * Finds the pod's veth of each reservation. The runtime's memory of the ADD is believed first, since only
 * root writes it; otherwise the one pod that shows the reserved address. If two do, neither is believed, and
 * of two reservations that lead to one pod neither, too.
 */
export function matchPods(found: Found): MatchedPods {
  const adoptions: Adoption[] = [];
  const known: string[] = [];
  const left: { object: string; why: string }[] = [];
  const claims = claimsOf(found);
  for (const { owner, ips, result, match } of claims) {
    const title = titleOf(owner, result);
    const object = `${title} ${ips.join(' ')}`;
    if (owner.containerId === '')
      left.push({ object: ips.join(' '), why: `stays reserved: its file in ${owner.dir} names no pod` });
    else if (typeof match === 'string') left.push({ object, why: match });
    else if (match.isOurs) known.push(title);
    else {
      const rivals = claims.filter(
        (each) => typeof each.match !== 'string' && each.match.name === match.name,
      );
      if (rivals.length === 1) adoptions.push(adoption(owner, ips, match, result, found.bridge?.name ?? ''));
      else {
        const titles = rivals.map((each) => titleOf(each.owner, each.result)).join(' and ');
        left.push({ object, why: `not adopted: the reservations of ${titles} lead to ${match.name}` });
      }
    }
  }
  const used = new Set(claims.map(({ match }) => (typeof match === 'string' ? undefined : match.name)));
  for (const { name, isOurs } of found.ports) {
    if (used.has(name) || isOurs) continue;
    left.push({
      object: name,
      why: 'no reservation leads to this port of the bridge: neither guarded nor freed',
    });
  }
  return { adoptions, known, left };
}

type PodPort = FoundPort & { readonly inside: NonNullable<FoundPort['inside']> };

/** The reservations of one interface, what the runtime remembers of it, and its port or why it has none. */
type Claim = {
  readonly owner: FoundReservation;
  readonly ips: readonly Ip[];
  readonly result: FoundResult | undefined;
  readonly match: PodPort | string;
};

function claimsOf({ reservations, results, ports }: Found): readonly Claim[] {
  const owners = byOwner(reservations).map((owned) => {
    const [owner] = owned;
    const ips = owned.map(({ ip }) => ip).toSorted(ipCompare);
    const result = results.find(
      (each) => each.containerId === owner.containerId && isInterface(owner, each.ifName),
    );
    const shows = owner.containerId === '' ? [] : showing(owner, ips, ports);
    return { owner, ips, result, shows, remembered: shows.find(({ name }) => name === result?.hostDevice) };
  });
  const certain = new Set(owners.map(({ remembered }) => remembered?.name));
  return owners.map(({ owner, ips, result, shows, remembered }) => {
    const others = shows.filter(({ name }) => !certain.has(name));
    return { owner, ips, result, match: remembered ?? onlyOne(others) };
  });
}

function titleOf({ containerId }: FoundReservation, result: FoundResult | undefined): string {
  return podTitle({ ...named(result), containerId });
}

/** Reservations by the interface that they are for; each that names none on its own. */
function byOwner(all: readonly FoundReservation[]): [FoundReservation, ...FoundReservation[]][] {
  const owners = Map.groupBy(all, ({ containerId, ifName, ip }) =>
    containerId === '' ? ip : `${containerId} ${ifName}`,
  );
  return [...owners.values()].flatMap(([first, ...rest]) => (first ? [[first, ...rest]] : []));
}

/** Files of old releases of host-local name no interface. */
function isInterface({ ifName }: FoundReservation, name: string): boolean {
  return ifName === '' || ifName === name;
}

/** The ports of pods that show all these addresses. */
function showing(owner: FoundReservation, ips: readonly Ip[], ports: readonly FoundPort[]): PodPort[] {
  return ports.flatMap((port) => {
    const { inside } = port;
    const isIt =
      inside && isInterface(owner, inside.ifName) && ips.every((ip) => inside.addresses.includes(ip));
    return isIt ? [{ ...port, inside }] : [];
  });
}

function onlyOne(shows: readonly PodPort[]): PodPort | string {
  const ours = shows.find(({ isOurs }) => isOurs);
  if (ours) return ours;
  const [only, ...more] = shows;
  if (!only) return 'stays reserved: no pod in sight has it';
  return more.length === 0
    ? only
    : `not adopted: ${shows.map(({ name }) => name).join(' and ')} both show it`;
}

function adoption(
  { containerId, dir, isNew }: FoundReservation,
  addresses: readonly Ip[],
  port: PodPort,
  result: FoundResult | undefined,
  bridge: string,
): Adoption {
  const { netns, netnsId, ifName, mac: shownMac } = port.inside;
  return {
    containerId,
    ifName,
    dir,
    addresses,
    netns,
    netnsId,
    hostDevice: port.name,
    bridge,
    mtu: port.mtu,
    hairpin: port.hairpin,
    mac: result?.mac ?? shownMac,
    shownMac,
    isMacCertain: result?.mac !== undefined,
    ...named(result),
    hostPorts: result?.hostPorts ?? [],
    isLimited: result?.isLimited ?? false,
    isNew: isNew && !result,
  };
}

function named(result: FoundResult | undefined): { readonly namespace?: string; readonly name?: string } {
  const { namespace, podName: name } = result ?? {};
  return { ...(namespace && { namespace }), ...(name && { name }) };
}

/** The name of the network in our own configuration, and in flannel's usual one. */
export const NETWORK = 'cbr0';

/** The record that the agent is asked to write; what it can find out itself, it does. */
export function recordOf(adoption: Adoption): object {
  const { namespace, name, isMacCertain, hostPorts, addresses } = adoption;
  const { containerId, ifName, dir, netns, netnsId, hostDevice, bridge, mtu, hairpin, mac } = adoption;
  return {
    ...{ containerId, ifName, dir, netns, netnsId, hostDevice, bridge, mtu, hairpin, mac },
    network: NETWORK,
    role: 'interface',
    state: 'ready',
    bootId: '',
    addresses: addresses.map(hostCidr),
    pod: { labels: {}, ...(namespace && { namespace }), ...(name && { name }) },
    ...(hostPorts.length > 0 && { hostPorts }),
    ...(isMacCertain ? {} : { lost: ['mac'] }),
  };
}
