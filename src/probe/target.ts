import type { Carrier, Path } from '../backends/backend.ts';
import { isOnLink, subnetsOf } from '../backends/direct.ts';
import { BACKENDS, type Configured, configuredBackend } from '../backends/registry.ts';
import { Fields } from '../cluster/fields.ts';
import type { Network } from '../cluster/network.ts';
import type { Node, Self } from '../cluster/node.ts';
import { podPools } from '../cluster/overlap.ts';
import { backendsFor } from '../cluster/plan.ts';
import { NO_RESOURCES, type Resources } from '../cluster/resources.ts';
import { peerContribution } from '../desired/peer.ts';
import { FAMILIES, type Family, type Ip } from '../ip/address.ts';
import { nthIp } from '../ip/cidr.ts';
import { problemText } from '../problem.ts';
import { wiringOf } from '../wiring/registry.ts';

/** One peer in one family, and all that a probe of the path there needs to know. */
export type Target = {
  readonly peer: string;
  readonly family: Family;
  /** The peer's address on the underlay. */
  readonly host: Ip;
  readonly carrier: Carrier;
  /** Answers at the far end of the path. Absent: nothing does that we know of. */
  readonly inner?: Ip;
  /** What to send from, so that the answer takes the path back. Absent: the kernel's choice. */
  readonly source?: Ip;
  /** Of pods, and of the underlay, in bytes. */
  readonly mtu: number;
  readonly underlayMtu: number;
  /** Bytes that the backend adds to each packet. */
  readonly overhead: number;
  /** Whether the backend's configuration can name the underlay's MTU. */
  readonly hasMtuOption: boolean;
  /** The underlay interface. */
  readonly dev: string;
  /** The address of this node there. */
  readonly from: Ip;
  readonly isOnLink: boolean;
  /** What else could carry pods' packets, by the types of backends. */
  readonly others: readonly Candidate[];
};

export type Candidate = { readonly type: string; readonly carrier: Carrier };

/** A peer whose path cannot be tested, and why. */
export type Untestable = { readonly peer: string; readonly family: Family; readonly why: string };

export type ProbeFacts = {
  readonly network: Network;
  readonly self: Self;
  readonly resources: Resources;
  /** The pods' MTU, in bytes. */
  readonly mtu: number;
};

/** Returns what to probe of a peer: one target for each family of the network. */
export function targetsTo(peer: Node, facts: ProbeFacts): readonly (Target | Untestable)[] {
  const { network, resources } = facts;
  const configured = configuredBackend(network, resources);
  return FAMILIES.filter((family) => network.pools[family]).map((family) => {
    const target = targetTo(peer, family, facts, configured);
    return typeof target === 'string' ? { peer: peer.name, family, why: target } : target;
  });
}

function targetTo(
  peer: Node,
  family: Family,
  { network, self, resources, mtu }: ProbeFacts,
  configured: Configured,
): Target | string {
  const { underlay } = self;
  const { backend, options } = configured;
  const [host, from] = [peer.addresses[family], underlay.addresses[family]];
  if (from === undefined) return `${underlay.dev} has no IPv${family} address`;
  // Blocks come with pods.
  if (network.addresses === 'lease' && subnetsOf(peer, family).length === 0)
    return `it has no IPv${family} subnet`;
  if (host === undefined) return `it has no public IPv${family} address`;
  // On a physical network, pods live beside everybody else.
  const pools = network.physical ? undefined : podPools(network, resources);
  const { warnings } = peerContribution(self, peer, configured, [family], pools);
  const [warning] = warnings;
  // What it publishes is of no use: nothing is sent where it says.
  if (warning) return problemText(warning).replace(`${peer.name}: `, '');
  const path = backend.path?.(self, peer, options, family);
  if (!path && network.physical) return 'the physical network carries its pods’ packets, past the nodes';
  if (!path) return `nothing is known of what carries packets of backend ${backend.type}`;
  const inner = path.target ?? gateway(network, peer, family);
  const source = path.target === undefined ? gateway(network, self.node, family) : undefined;
  return {
    peer: peer.name,
    family,
    host,
    carrier: path.carrier,
    ...(inner !== undefined && { inner, ...(source !== undefined && { source }) }),
    mtu,
    underlayMtu: underlay.mtu,
    overhead: path.carrier === 'routes' ? 0 : backend.overhead(self, options, family),
    hasMtuOption: backend.underlayMtu !== undefined,
    dev: underlay.dev,
    from,
    isOnLink: isOnLink(self, host),
    others: candidates(network, self, peer, family, path),
  };
}

/** A node's own address in its subnet, where its wiring gives it one. */
function gateway({ wiring }: Network, node: Node, family: Family): Ip | undefined {
  const [subnet] = subnetsOf(node, family);
  return subnet !== undefined && wiringOf(wiring).holdsSubnets ? nthIp(subnet, 1) : undefined;
}

/**
 * The backends that may take the place of the network's own, with the options that they have by default: one
 * for each carrier, as what tells them apart besides is not the underlay's business.
 */
function candidates(
  network: Network,
  self: Self,
  peer: Node,
  family: Family,
  { carrier }: Path,
): readonly Candidate[] {
  const lawful = backendsFor(network);
  const seen = new Set([JSON.stringify(carrier)]);
  return BACKENDS.flatMap((backend) => {
    if (backend.type === network.backend.type || !lawful.includes(backend.type)) return [];
    const options = backend.options(new Fields({}, 'Backend'), NO_RESOURCES);
    const other = backend.path?.(self, peer, options, family);
    const key = JSON.stringify(other?.carrier);
    if (!other || seen.has(key) || backend.refuses?.(self, options, family) !== undefined) return [];
    seen.add(key);
    return [{ type: backend.type, carrier: other.carrier }];
  });
}
