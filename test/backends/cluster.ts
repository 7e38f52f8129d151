import assert from 'node:assert/strict';
import fc from 'fast-check';
import { configuredBackend } from '../../src/backends/registry.ts';
import { type Network, readNetwork } from '../../src/cluster/network.ts';
import type { LocalPod, Node, PerFamily, Self } from '../../src/cluster/node.ts';
import {
  type Encapsulation,
  type IpPool,
  NO_RESOURCES,
  type Resources,
} from '../../src/cluster/resources.ts';
import type { Facts } from '../../src/desired/desired.ts';
import type { Family, Ip } from '../../src/ip/address.ts';
import { type Cidr, cidrOf, nthIp, parseCidr } from '../../src/ip/cidr.ts';
import type { Hop, TracedCluster, TracedNode } from '../../src/trace/fib.ts';
import { composedState } from '../desired/composed.ts';
import { byKey } from '../state/compose.ts';
import { tunnelMacsOf } from './tunnel-macs.ts';

/** A test's description of a cluster, from which everything else is derived. */
export type Plan = {
  readonly size: number;
  readonly families: readonly Family[];
  readonly backend: { readonly Type: string; readonly [option: string]: unknown };
  /** Number of underlay networks the nodes are spread over. */
  readonly networks: number;
};

export const familiesOf = fc.constantFrom<readonly Family[]>([4], [6], [4, 6]);

const POOLS: Record<Family, Cidr> = { 4: parseCidr('10.0.0.0/8'), 6: parseCidr('fd10::/32') };
const ENCAPSULATIONS: readonly Encapsulation[] = ['Always', 'CrossSubnet', 'Never'];

type Kind = {
  readonly options: fc.Arbitrary<Readonly<Record<string, unknown>>>;
  /** Whether its nodes may be on several networks with a router between them. */
  readonly routed: (plan: Plan) => boolean;
  /** How a packet for a peer's pod leaves its node; undefined when the backend does not carry the family. */
  readonly hop: (backend: Plan['backend'], sameNetwork: boolean, family: Family) => Hop['kind'] | undefined;
};

/** Each backend's configurations and expected behaviour. A backend added here is tested. */
export const KINDS: Readonly<Record<string, Kind>> = {
  'host-gw': { options: fc.constant({}), routed: () => false, hop: () => 'direct' },
  vxlan: {
    options: fc.record({
      VNI: fc.integer({ min: 1, max: 0xffffff }),
      DirectRouting: fc.boolean(),
      GBP: fc.boolean(),
    }),
    routed: () => true,
    hop: ({ DirectRouting }, sameNetwork) => (DirectRouting && sameNetwork ? 'direct' : 'vxlan'),
  },
  // `routes: bird` leaves nothing to compute.
  bgp: {
    options: fc.record({ routes: fc.constant('agent'), ipip: fc.constantFrom(...ENCAPSULATIONS) }),
    routed: ({ families, backend }) => !families.includes(6) && backend.ipip !== 'Never',
    hop: ({ ipip }, sameNetwork, family) => {
      const direct = family === 6 || ipip === 'Never' || (ipip === 'CrossSubnet' && sameNetwork);
      return direct ? 'direct' : 'ipip';
    },
  },
};

export function kindOf({ backend }: Plan): Kind {
  const kind = KINDS[backend.Type];
  assert.ok(kind, `KINDS lacks ${backend.Type}`);
  return kind;
}

const backends = fc.oneof(
  ...Object.entries(KINDS).map(([Type, { options }]) => options.map((chosen) => ({ Type, ...chosen }))),
);

export const plans = (maxSize: number): fc.Arbitrary<Plan> =>
  fc
    .record({
      size: fc.integer({ min: 1, max: maxSize }),
      families: familiesOf,
      backend: backends,
      networks: fc.integer({ min: 1, max: 3 }),
    })
    .map((plan) => (kindOf(plan).routed(plan) ? plan : { ...plan, networks: 1 }));

export function networkOf(plan: Plan): Network {
  return readNetwork({
    EnableIPv4: plan.families.includes(4),
    EnableIPv6: plan.families.includes(6),
    Network: '10.0.0.0/8',
    IPv6Network: 'fd10::/32',
    ...(plan.backend.Type === 'bgp' && { wiring: 'routed' }),
    Backend: plan.backend,
  });
}

/** The pools' resources; the option `ipip` exists only in tests. */
export function resourcesOf({ families, backend }: Plan): Resources {
  const pool = (family: Family): IpPool => ({
    name: `pool${family}`,
    cidr: POOLS[family],
    blockSize: family === 4 ? 26 : 122,
    ipipMode: ENCAPSULATIONS.find((mode) => family === 4 && mode === backend.ipip) ?? 'Never',
    natOutgoing: true,
    disabled: false,
    disableBgpExport: false,
    nodeSelector: 'all()',
    assignmentMode: 'Automatic',
  });
  return { ...NO_RESOURCES, ipPools: backend.Type === 'bgp' ? families.map(pool) : [] };
}

/**
 * With routed wiring, a pod on the node with the eighth address of each of its subnets; a bridge stands for
 * all pods.
 */
export function podsOf(plan: Plan, { node }: Self): LocalPod[] {
  if (networkOf(plan).wiring === 'bridge') return [];
  const addresses = node.subnets.map((subnet) => nthIp(subnet, 7));
  const pod = { containerId: 'c', labels: {}, ifName: 'eth0', hostDevice: 'cali0', netns: '', addresses };
  return [{ ...pod, wiring: 'routed' }];
}

/** The `index`-th node, as it sees itself; `salt` gives it another address, subnet and so MAC. */
export function selfOf(plan: Plan, index: number, salt = 0): Self {
  const network = index % plan.networks;
  const onLink: Record<Family, Cidr> = {
    4: parseCidr(`172.${16 + network}.0.0/16`),
    6: parseCidr(`fd00:${network}::/64`),
  };
  const place = index + 1 + salt * 5000;
  const addresses: PerFamily<Ip> = Object.fromEntries(
    plan.families.map((family) => [family, nthIp(onLink[family], place + 1)]),
  );
  const subnets = plan.families.map((family) =>
    family === 4
      ? cidrOf(nthIp(POOLS[4], place * 256), 24)
      : cidrOf(nthIp(POOLS[6], BigInt(place) << 64n), 64),
  );
  const underlay = { dev: 'eth0', mtu: 1500, addresses, onLink: plan.families.map((f) => onLink[f]) };
  const name = salt === 0 ? `node${index}` : `node${index}-${salt}`;
  const bare: Node = { name, labels: {}, addresses, subnets, backend: { type: plan.backend.Type, data: {} } };
  const { backend, options } = configuredBackend(networkOf(plan));
  const tunnelMacs = tunnelMacsOf(name);
  const data = Object.fromEntries(
    plan.families.map((family) => [
      family,
      backend.data({ node: bare, underlay, tunnelMacs }, options, family),
    ]),
  );
  // Peers know a node by what the store gives back.
  const published = JSON.parse(JSON.stringify(data)) as PerFamily<unknown>;
  return { node: { ...bare, backend: { ...bare.backend, data: published } }, underlay, tunnelMacs };
}

export function factsOf(plan: Plan, index = 0, peers = nodesOf(plan)): Facts {
  const self = selfOf(plan, index);
  return { network: networkOf(plan), resources: resourcesOf(plan), self, peers, pods: podsOf(plan, self) };
}

export function nodesOf(plan: Plan): Node[] {
  return Array.from({ length: plan.size }, (_, i) => selfOf(plan, i).node);
}

/** Every node of the plan, or only those of `only`, with its computed kernel state. */
export function traced(plan: Plan, only?: ReadonlySet<number>): TracedCluster {
  const peers = nodesOf(plan);
  const nodes = new Map<string, TracedNode>();
  for (let i = 0; i < plan.size; i++) {
    if (only && !only.has(i)) continue;
    const self = selfOf(plan, i);
    const { items } = composedState(factsOf(plan, i, peers));
    nodes.set(self.node.name, { name: self.node.name, state: byKey(items), underlay: self.underlay });
  }
  return { nodes, routed: true };
}
