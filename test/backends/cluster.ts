import assert from 'node:assert/strict';
import fc from 'fast-check';
import { desiredState, type Facts } from '../../src/backends/desired.ts';
import { configuredBackend } from '../../src/backends/registry.ts';
import { type Network, readNetwork } from '../../src/cluster/network.ts';
import type { Node, PerFamily, Self } from '../../src/cluster/node.ts';
import type { Family, Ip } from '../../src/ip/address.ts';
import { type Cidr, cidrOf, nthIp, parseCidr } from '../../src/ip/cidr.ts';
import { byKey } from '../../src/state/key.ts';
import type { Hop, TracedCluster, TracedNode } from '../../src/trace/fib.ts';

/** A cluster as a test describes it; everything else follows. */
export type Plan = {
  readonly size: number;
  readonly families: readonly Family[];
  readonly backend: { readonly Type: string; readonly [option: string]: unknown };
  /** How many underlay networks the nodes are spread over. */
  readonly networks: number;
};

export const familiesOf = fc.constantFrom<readonly Family[]>([4], [6], [4, 6]);

type Kind = {
  readonly options: fc.Arbitrary<Readonly<Record<string, unknown>>>;
  /** Whether its nodes may be on several networks with a router between them. */
  readonly routed: boolean;
  /** How a packet for a peer's pod leaves its node. */
  readonly hop: (backend: Plan['backend'], sameNetwork: boolean) => Hop['kind'];
};

/** Each backend as a plan may configure it, and what must come of that. A new one is tested from the moment it stands here. */
export const KINDS: Readonly<Record<string, Kind>> = {
  'host-gw': { options: fc.constant({}), routed: false, hop: () => 'direct' },
  vxlan: {
    options: fc.record({
      VNI: fc.integer({ min: 1, max: 0xffffff }),
      DirectRouting: fc.boolean(),
      GBP: fc.boolean(),
    }),
    routed: true,
    hop: ({ DirectRouting }, sameNetwork) => (DirectRouting && sameNetwork ? 'direct' : 'vxlan'),
  },
};

export function kindOf({ backend }: Plan): Kind {
  const kind = KINDS[backend.Type];
  assert.ok(kind, `KINDS says nothing of ${backend.Type}`);
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
    .map((plan) => (kindOf(plan).routed ? plan : { ...plan, networks: 1 }));

export function networkOf(plan: Plan): Network {
  return readNetwork({
    EnableIPv4: plan.families.includes(4),
    EnableIPv6: plan.families.includes(6),
    Network: '10.0.0.0/8',
    IPv6Network: 'fd10::/32',
    Backend: plan.backend,
  });
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
  const pools: Record<Family, Cidr> = { 4: parseCidr('10.0.0.0/8'), 6: parseCidr('fd10::/32') };
  const subnets = plan.families.map((family) =>
    family === 4
      ? cidrOf(nthIp(pools[4], place * 256), 24)
      : cidrOf(nthIp(pools[6], BigInt(place) << 64n), 64),
  );
  const underlay = { dev: 'eth0', mtu: 1500, addresses, onLink: plan.families.map((f) => onLink[f]) };
  const name = salt === 0 ? `node${index}` : `node${index}-${salt}`;
  const bare: Node = { name, labels: {}, addresses, subnets, backend: { type: plan.backend.Type, data: {} } };
  const { backend, options } = configuredBackend(networkOf(plan));
  const data = Object.fromEntries(
    plan.families.map((family) => [family, backend.data({ node: bare, underlay }, options, family)]),
  );
  // Peers know a node by what the store gives back.
  const published = JSON.parse(JSON.stringify(data)) as PerFamily<unknown>;
  return { node: { ...bare, backend: { ...bare.backend, data: published } }, underlay };
}

export function factsOf(plan: Plan, index = 0, peers = nodesOf(plan)): Facts {
  return { network: networkOf(plan), self: selfOf(plan, index), peers, pods: [] };
}

export function nodesOf(plan: Plan): Node[] {
  return Array.from({ length: plan.size }, (_, i) => selfOf(plan, i).node);
}

/** Every node of the plan, or only those of `only`, with its computed kernel state. */
export function traced(plan: Plan, only?: ReadonlySet<number>): TracedCluster {
  const peers = nodesOf(plan);
  const network = networkOf(plan);
  const nodes = new Map<string, TracedNode>();
  for (let i = 0; i < plan.size; i++) {
    if (only && !only.has(i)) continue;
    const self = selfOf(plan, i);
    const { items } = desiredState({ network, self, peers, pods: [] });
    nodes.set(self.node.name, { name: self.node.name, state: byKey(items), underlay: self.underlay });
  }
  return { nodes, routed: true };
}
