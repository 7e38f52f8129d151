import { FlatnetError } from '../error.ts';
import type { Family } from '../ip/address.ts';
import { type Cidr, overlaps, parseCidr } from '../ip/cidr.ts';
import { Fields } from './fields.ts';
import type { PerFamily } from './node.ts';
import { type Physical, physicalValue, readPhysical } from './physical.ts';
import { type Plan, readPlan, readWiring } from './plan.ts';
import { type PolicyOptions, policyOptionsValue, readPolicyOptions } from './policy-options.ts';
import { type Pool, readPool } from './pool.ts';
import { type PortRange, portRangeValue, readPortRanges } from './port-range.ts';
import { isPhysical } from './wiring.ts';

export type { Pool } from './pool.ts';

/**
 * The configuration of the pod network, the same on every node. Read by `readNetwork` from net-conf.json or
 * YAML.
 */
export type Network = Plan & {
  /** At least one family is present. */
  readonly pools: PerFamily<Pool>;
  /** Where pods are on the physical network. Absent: they are not. */
  readonly physical?: Physical;
  readonly backend: {
    /**
     * Lower case. Absent in the file means `vxlan` (flannel's source says udp, its documentation vxlan), or
     * `alloc` for pods on the physical network.
     */
    readonly type: string;
    /** As written, without `Type`; read by the backend of that type, keys matched case-insensitively. */
    readonly options: Readonly<Record<string, unknown>>;
  };
  readonly masquerade: {
    readonly enabled: boolean;
    /**
     * Choose source ports at random (`NF_NAT_RANGE_PROTO_RANDOM_FULLY`), which avoids the conntrack insertion
     * race.
     */
    readonly randomFully: boolean;
    /** Destinations that always see the pod's own address. */
    readonly exclude: readonly Cidr[];
  };
  /** Whether a pod may send only as itself, and never into a tunnel. Absent, in an older saved view: true. */
  readonly guard?: boolean;
  /** How nodes enforce network policies. Absent: they do not. */
  readonly policy?: PolicyOptions;
  /**
   * The networks, besides its own addresses, that a pod may send from if its annotation asks for a part of
   * them. Absent, in an older saved view: none.
   */
  readonly allowedSources?: readonly Cidr[];
  /** Those of Services, besides the BGPConfiguration's. Absent: not known; empty: there are none. */
  readonly serviceNetworks?: readonly Cidr[];
  /** Ports of nodes, of any protocol, that lead to no pod. Absent, in an older saved view: none. */
  readonly reservedHostPorts?: readonly PortRange[];
};

/**
 * Reads a parsed net-conf.json, or our YAML, which has the same keys and also `addresses`, `wiring`,
 * `macvlan`, `ipvlan`, `masquerade`, `guard`, `policy`, `allowedSources`, `serviceNetworks` and
 * `reservedHostPorts`. Matches keys case-insensitively and ignores unknown ones. The fields of a disabled
 * family must parse but are not used (k3s writes `0.0.0.0/0` or `::/0` there). Throws CONFIG_INVALID naming
 * the field.
 */
export function readNetwork(value: unknown): Network {
  return readNetworkFields(new Fields(value));
}

/** `readNetwork` for a caller that wants to know which keys are read. */
export function readNetworkFields(fields: Fields): Network {
  const isOnPhysical = isPhysical(readWiring(fields));
  const backend = readBackend(fields.object('Backend'), isOnPhysical ? 'alloc' : 'vxlan');
  const plan = readPlan(fields, backend.type);
  const pool4 = readPool(fields, 4, fields.boolean('EnableIPv4') ?? true, plan.addresses);
  const pool6 = readPool(fields, 6, fields.boolean('EnableIPv6') ?? false, plan.addresses);
  if (!pool4 && !pool6) {
    throw new FlatnetError('no family is enabled', {
      code: 'CONFIG_INVALID',
      object: 'EnableIPv4',
      fix: 'set EnableIPv4 or EnableIPv6 to true',
    });
  }
  if (plan.addresses === 'dhcp' && pool6) {
    throw fields.invalid('EnableIPv6', 'must be false where addresses is dhcp, which gives IPv4 addresses');
  }
  const serviceNetworks = fields.parsedList('serviceNetworks', parseCidr);
  const pools = { ...(pool4 && { 4: pool4 }), ...(pool6 && { 6: pool6 }) };
  const physical = readPhysical(fields, plan, pools);
  const policy = readPolicyOptions(fields, !isOnPhysical);
  return {
    pools,
    ...plan,
    ...(physical && { physical }),
    backend,
    masquerade: readMasquerade(fields.object('masquerade'), !isOnPhysical),
    guard: readGuard(fields, !isOnPhysical),
    ...(policy && { policy }),
    allowedSources: fields.parsedList('allowedSources', parseCidr) ?? [],
    ...(serviceNetworks && { serviceNetworks }),
    reservedHostPorts: readPortRanges(fields, 'reservedHostPorts') ?? [],
  };
}

/**
 * Writes the network as net-conf.json. `readNetwork` reads it back as the same Network, and flannel reads it
 * too, ignoring our additions.
 */
export function networkToNetConf(network: Network): string {
  const { pools, addresses, wiring, backend, masquerade, guard } = network;
  const { allowedSources, serviceNetworks, reservedHostPorts } = network;
  const family = (family: Family, prefix: string) => {
    const pool = pools[family];
    return {
      [`EnableIPv${family}`]: pool !== undefined,
      ...(pool && {
        [`${prefix}Network`]: pool.cidr,
        [`${prefix}SubnetLen`]: pool.subnetLength,
        [`${prefix}SubnetMin`]: pool.subnetMin,
        [`${prefix}SubnetMax`]: pool.subnetMax,
      }),
    };
  };
  const conf = {
    ...family(4, ''),
    ...family(6, 'IPv6'),
    Backend: { Type: backend.type, ...backend.options },
    addresses,
    wiring,
    ...(network.physical && { [wiring]: physicalValue(network.physical) }),
    masquerade,
    guard: guard ?? true,
    ...(network.policy && { policy: policyOptionsValue(network.policy) }),
    allowedSources: allowedSources ?? [],
    serviceNetworks,
    reservedHostPorts: (reservedHostPorts ?? []).map(portRangeValue),
  };
  return `${JSON.stringify(conf, null, 2)}\n`;
}

/**
 * Throws CONFIG_INVALID when a pool overlaps a network that is used otherwise; `use` names the use, e.g. `the
 * underlay`.
 */
export function refuseOverlap(network: Network, use: string, taken: readonly Cidr[]): void {
  // A physical network is others', too.
  if (network.physical) return;
  for (const pool of Object.values(network.pools)) {
    const other = taken.find((cidr) => overlaps(pool.cidr, cidr));
    if (other) {
      throw new FlatnetError(`${pool.cidr} overlaps ${other}, which is ${use}`, {
        code: 'CONFIG_INVALID',
        object: pool.cidr.includes(':') ? 'IPv6Network' : 'Network',
        fix: 'choose a network that nothing else uses',
      });
    }
  }
}

function readBackend(fields: Fields | undefined, usual: string): Network['backend'] {
  const type = fields?.string('Type')?.toLowerCase() || usual;
  const options = (fields?.entries() ?? []).filter(([key]) => key.toLowerCase() !== 'type');
  return { type, options: Object.fromEntries(options) };
}

/** `isPossible`: pods' packets pass the node, which can guard them. */
function readGuard(fields: Fields, isPossible: boolean): boolean {
  const wanted = fields.boolean('guard') ?? isPossible;
  if (!wanted || isPossible) return wanted;
  throw fields.invalid('guard', 'must be false or absent with this wiring: no node sees what its pods send');
}

/** `isPossible`: pods' packets pass the node, which can masquerade them. */
function readMasquerade(fields: Fields | undefined, isPossible: boolean): Network['masquerade'] {
  const enabled = fields?.boolean('enabled') ?? isPossible;
  if (fields && enabled && !isPossible) {
    throw fields.invalid(
      'enabled',
      'must be false or absent with this wiring: pods’ packets do not pass the node',
    );
  }
  return {
    enabled,
    randomFully: fields?.boolean('randomFully') ?? true,
    exclude: fields?.parsedList('exclude', parseCidr) ?? [],
  };
}
