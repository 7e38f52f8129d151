import type { Ip } from '../ip/address.ts';
import { type Cidr, contains, hostCidr, overlaps, parseCidr } from '../ip/cidr.ts';
import type { Host } from './host.ts';
import type { Network } from './network.ts';
import type { Node } from './node.ts';
import { podPools } from './overlap.ts';
import { NO_RESOURCES, type Resources } from './resources.ts';
import { serviceNetworks } from './service-networks.ts';

/** What decides from which networks, besides its own addresses, a pod may send. */
export type SourceFacts = {
  /** Undefined: not known yet. */
  readonly network?: Network | undefined;
  readonly resources?: Resources | undefined;
  readonly host?: Host | undefined;
  readonly nodes?: readonly Node[] | undefined;
};

/** `taken`: what is used otherwise inside the allowed networks. */
export type SourceRules = {
  readonly allowed: readonly Cidr[];
  readonly taken: readonly { readonly cidr: Cidr; readonly use: string }[];
};

/** Addresses with a meaning of their own: this host, a link (pods' gateways are there), groups. */
const SPECIAL = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/3',
  '::/8',
  'fe80::/10',
  'ff00::/8',
];

/**
 * Returns the rules for the further sources of pods. None are allowed unless the network's configuration says
 * so, and even then none that would let a pod pose as somebody of the cluster.
 */
export function sourceRules({
  network,
  resources = NO_RESOURCES,
  host,
  nodes = [],
}: SourceFacts): SourceRules {
  const allowed = network?.allowedSources ?? [];
  if (!network || allowed.length === 0) return { allowed, taken: [] };
  const alone = (use: string, ips: readonly Ip[] = []) => ips.map((ip) => ({ cidr: hostCidr(ip), use }));
  const within = (use: string, cidrs: readonly Cidr[] = []) => cidrs.map((cidr) => ({ cidr, use }));
  const uses = [
    ...within('special addresses', SPECIAL.map(parseCidr)),
    ...within('a network of pods', podPools(network, resources)),
    ...within('a network of Services', serviceNetworks(network, resources)),
    ...nodes.flatMap(({ name, subnets, addresses, senders }) => [
      ...within(`a subnet of node ${name}`, subnets),
      ...alone(`an address of node ${name}`, [...Object.values(addresses), ...(senders ?? [])]),
    ]),
    ...alone('an address of this node', host?.addresses),
    ...alone('a gateway', host?.gateways),
  ];
  return { allowed, taken: uses.filter(({ cidr }) => allowed.some((each) => overlaps(each, cidr))) };
}

/** Returns why a pod may not send from a network, as the end of a sentence; undefined if it may. */
export function refusedSource(cidr: Cidr, { allowed, taken }: SourceRules): string | undefined {
  if (!allowed.some((each) => contains(each, cidr))) {
    return 'is not part of allowedSources in the network’s configuration';
  }
  const other = taken.find((each) => overlaps(each.cidr, cidr));
  return other && `overlaps ${other.cidr}, ${other.use}`;
}
