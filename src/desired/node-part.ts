import { IPV6_LEAST_MTU } from '../backends/inner-mtu.ts';
import { type Configured, configuredBackend } from '../backends/registry.ts';
import { NO_HOST } from '../cluster/host.ts';
import type { Network } from '../cluster/network.ts';
import type { Self } from '../cluster/node.ts';
import { takenByHost } from '../cluster/overlap.ts';
import type { OwnPort } from '../cluster/own-port.ts';
import { chooseParent } from '../cluster/parent.ts';
import type { Resources } from '../cluster/resources.ts';
import { serviceNetworks } from '../cluster/service-networks.ts';
import { FlatnetError } from '../error.ts';
import { hostPortNodeItems } from '../host-ports/node.ts';
import { FAMILIES, type Family } from '../ip/address.ts';
import { contains } from '../ip/cidr.ts';
import { podNetworks } from '../masquerade/pod-networks.ts';
import { masqueradeItems } from '../masquerade/table.ts';
import type { Problem } from '../problem.ts';
import type { Contribution } from '../state/contributions.ts';
import type { OnPhysical } from '../wiring/wiring.ts';
import { ownPorts } from './own-ports.ts';
import { familyMtu, podMtu } from './pod-mtu.ts';

/** The part of the desired state that depends only on this node and the network, not on pods and peers. */
export type NodePart = {
  readonly configured: Configured;
  /** The families of the network. */
  readonly used: readonly Family[];
  /** The families in which peers can be reached. */
  readonly usable: readonly Family[];
  /** The pods' MTU, in bytes. */
  readonly mtu: number;
  /** Absent: pods are on no physical network. */
  readonly physical?: OnPhysical;
  readonly backend: Contribution;
  readonly masquerade: Contribution;
  readonly hostPorts: Contribution;
  /** The node's ports that lead to no pod. */
  readonly own: readonly OwnPort[];
};

/**
 * Computes the node's part. Throws CONFIG_INVALID when the network's backend is unknown or its options are
 * wrong.
 */
export function nodePart(network: Network, self: Self, resources: Resources): NodePart {
  if (!network.physical) refuseTakenSubnets(self);
  const configured = configuredBackend(network, resources);
  const { backend, options } = configured;
  const used = FAMILIES.filter((family) => network.pools[family]);
  const warnings: Problem[] = [];
  const usable = used.filter((family) => {
    const refusal = refusalOf(self, configured, family);
    const narrow = family === 6 ? narrowPath(self, configured) : undefined;
    const of = `IPv${family}: `;
    if (refusal !== undefined)
      warnings.push({ id: 'family-unusable', severity: 'error', what: `${of}${refusal}` });
    else if (narrow !== undefined)
      warnings.push({ id: 'path-too-narrow', severity: 'warning', what: `${of}${narrow}` });
    return refusal === undefined;
  });
  const devices = usable.flatMap((family) => {
    const cidr = network.pools[family]?.cidr;
    return cidr === undefined ? [] : backend.device(self, options, family, cidr);
  });
  // Pods can still reach the outside even if no peer can be reached in a family.
  const ports = backend.nodePorts?.(options) ?? { tcp: [], udp: [] };
  const tables = used.flatMap((family) =>
    masqueradeItems(network.masquerade, family, podNetworks(network, resources, self, family), ports),
  );
  const physical = network.physical && {
    config: network.physical,
    parent: chooseParent(network.physical, self.underlay, self.host ?? NO_HOST),
  };
  const own = ownPorts(network, self, configured);
  const leading = hostPortNodeItems({
    families: used,
    own,
    host: self.host ?? NO_HOST,
    services: serviceNetworks(network, resources),
  });
  const name = 'this node';
  return {
    configured,
    used,
    usable,
    mtu: podMtu(network, self, configured, physical?.parent),
    ...(physical && { physical }),
    backend: { owner: { part: 'backend', name }, items: devices, warnings },
    masquerade: { owner: { part: 'masquerade', name }, items: tables, warnings: [] },
    hostPorts: { owner: { part: 'host-ports', name }, items: leading, warnings: [] },
    own,
  };
}

/**
 * Throws CONFIG_INVALID when the host itself uses addresses of this node's subnets: the wiring would take
 * them away from it. Another plugin's bridge may be inside, with pods of its own.
 */
function refuseTakenSubnets({ node, host = NO_HOST }: Self): void {
  for (const subnet of node.subnets) {
    const taken = takenByHost(host, subnet);
    if (!taken || (taken.isBridge && contains(subnet, taken.cidr))) continue;
    throw new FlatnetError(`overlaps ${taken.cidr}, ${taken.use}`, {
      code: 'CONFIG_INVALID',
      object: subnet,
      fix: 'give one of them other addresses',
    });
  }
}

/**
 * Warns of a path too narrow for IPv6 in a tunnel: pods may always send 1280 bytes, and the kernel drops
 * packets that a tunnel over IPv6 makes too large (ip6_fragment).
 */
function narrowPath(self: Self, { backend, options }: Configured): string | undefined {
  const { pathMtu } = self.underlay;
  const overhead = backend.overhead(self, options, 6);
  if (pathMtu === undefined || overhead === 0 || backend.underlayMtu?.(options) !== undefined)
    return undefined;
  if (pathMtu >= IPV6_LEAST_MTU + overhead) return undefined;
  return (
    `the narrowest path to a node carries ${pathMtu} bytes, and a tunnel needs ${IPV6_LEAST_MTU + overhead}: ` +
    `on that path, IPv6 packets of more than ${pathMtu - overhead} bytes are lost`
  );
}

function refusalOf(self: Self, configured: Configured, family: Family): string | undefined {
  const { backend, options } = configured;
  const { dev, addresses } = self.underlay;
  if (addresses[family] === undefined) return `${dev} has no IPv${family} address`;
  const mtu = familyMtu(self, configured, family);
  if (family === 6 && mtu < IPV6_LEAST_MTU) {
    return `the MTU of ${dev} leaves ${mtu} bytes for a packet, and IPv6 needs ${IPV6_LEAST_MTU}: raise it`;
  }
  return backend.refuses?.(self, options, family);
}
