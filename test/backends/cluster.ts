import assert from 'node:assert/strict';
import fc from 'fast-check';
import { configuredBackend } from '../../src/backends/registry.ts';
import { NO_HOST } from '../../src/cluster/host.ts';
import { type Network, readNetwork } from '../../src/cluster/network.ts';
import type { LocalPod, Node, PerFamily, Self } from '../../src/cluster/node.ts';
import { isRouted, MODES, type Physical } from '../../src/cluster/physical.ts';
import type { AddressPlan } from '../../src/cluster/plan.ts';
import {
  type Encapsulation,
  type IpPool,
  NO_RESOURCES,
  type Resources,
} from '../../src/cluster/resources.ts';
import { isPhysical, WIRING_NAMES, type WiringName } from '../../src/cluster/wiring.ts';
import type { Facts } from '../../src/desired/desired.ts';
import { type Family, familyOf, type Ip } from '../../src/ip/address.ts';
import { type Cidr, cidrOf, nthIp, parseCidr } from '../../src/ip/cidr.ts';
import { macFromSeed } from '../../src/ip/mac.ts';
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
  /** Default: what the backend needs. */
  readonly wiring?: WiringName;
  /** Default: `lease`. */
  readonly addresses?: AddressPlan;
  /** How pods share a physical network. Default: the wiring's first. */
  readonly mode?: Physical['mode'];
};

export const FAMILIES: readonly (readonly Family[])[] = [[4], [6], [4, 6]];

const POOLS: Record<Family, Cidr> = { 4: parseCidr('10.0.0.0/8'), 6: parseCidr('fd10::/32') };
/** The first of the nodes' networks, which pods may share. */
const PHYSICAL: Record<Family, Cidr> = { 4: parseCidr('172.16.0.0/16'), 6: parseCidr('fd00:0::/64') };
const ENCAPSULATIONS: readonly Encapsulation[] = ['Always', 'CrossSubnet', 'Never'];

/** How pods are attached, and get addresses. */
type Attachment = `${WiringName} ${AddressPlan}`;
type Options = Readonly<Record<string, unknown>>;

type Kind = {
  /** With which it goes together; no configuration may have others. */
  readonly attachments: readonly Attachment[];
  /** Every choice of when packets go without the tunnel. */
  readonly directness: readonly Options[];
  /** Its other options. */
  readonly options: fc.Arbitrary<Options>;
  /** Whether its nodes may be on several networks with a router between them. */
  readonly routed: (plan: Plan) => boolean;
  /** How a packet for a peer's pod leaves its node; undefined when the backend does not carry the family. */
  readonly hop: (backend: Plan['backend'], sameNetwork: boolean, family: Family) => Hop['kind'] | undefined;
};

const FORWARDED: readonly Attachment[] = ['bridge lease', 'routed lease'];
const ON_PHYSICAL: readonly Attachment[] = ['macvlan lease', 'macvlan dhcp', 'ipvlan lease', 'ipvlan dhcp'];
const DIRECT_OR_NOT = [{ DirectRouting: false }, { DirectRouting: true }];
const NO_CHOICE = [{}];
const NO_OPTIONS = fc.constant({});

/** Through the tunnel, or with `DirectRouting` without it where no router is between. */
function tunnelOr(kind: Hop['kind']) {
  return ({ DirectRouting }: Plan['backend'], sameNetwork: boolean): Hop['kind'] =>
    DirectRouting && sameNetwork ? 'direct' : kind;
}

/** Each backend's configurations and expected behaviour. A backend added here is tested. */
export const KINDS: Readonly<Record<string, Kind>> = {
  'host-gw': {
    attachments: FORWARDED,
    directness: NO_CHOICE,
    options: NO_OPTIONS,
    routed: () => false,
    hop: () => 'direct',
  },
  vxlan: {
    ...tunnel({ VNI: fc.integer({ min: 1, max: 0xffffff }), GBP: fc.boolean() }),
    hop: tunnelOr('vxlan'),
  },
  'vxlan-md': {
    ...tunnel({ VNI: fc.integer({ min: 1, max: 0xffffff }) }),
    hop: tunnelOr('vxlan-external'),
  },
  geneve: { ...tunnel({ VNI: fc.integer({ min: 1, max: 0xffffff }) }), hop: tunnelOr('geneve') },
  gre: {
    ...tunnel({ Key: fc.nat(0xffffffff) }),
    hop: (backend, sameNetwork, family) =>
      tunnelOr(family === 4 ? 'gretap' : 'ip6gretap')(backend, sameNetwork),
  },
  ipip: {
    ...tunnel({}),
    hop: (backend, sameNetwork, family) => tunnelOr(family === 4 ? 'ipip' : 'ip6tnl')(backend, sameNetwork),
  },
  udp: { ...tunnel({ Port: fc.nat(65535) }), hop: tunnelOr('tun') },
  alloc: { ...elsewhere(), attachments: [...FORWARDED, ...ON_PHYSICAL] },
  extension: elsewhere(),
  gce: elsewhere(),
  'aws-vpc': elsewhere(),
  // `routes: bird` leaves nothing to compute.
  bgp: {
    attachments: ['routed lease', 'routed blocks'],
    directness: ENCAPSULATIONS.map((ipip) => ({ ipip })),
    options: fc.constant({ routes: 'agent' }),
    routed: ({ families, backend }) => !families.includes(6) && backend.ipip !== 'Never',
    hop: ({ ipip }, sameNetwork, family) => {
      const direct = family === 6 || ipip === 'Never' || (ipip === 'CrossSubnet' && sameNetwork);
      return direct ? 'direct' : 'ipip';
    },
  },
};

function tunnel(options: Readonly<Record<string, fc.Arbitrary<unknown>>>): Omit<Kind, 'hop'> {
  return {
    attachments: FORWARDED,
    directness: DIRECT_OR_NOT,
    options: fc.record(options),
    routed: () => true,
  };
}

/** Something else carries its packets, such as a cloud's routers. */
function elsewhere(): Kind {
  return { ...tunnel({}), directness: NO_CHOICE, hop: () => undefined };
}

export function kindOf({ backend }: Pick<Plan, 'backend'>): Kind {
  const kind = KINDS[backend.Type];
  assert.ok(kind, `KINDS lacks ${backend.Type}`);
  return kind;
}

/** What a configuration chooses, apart from the options of the backend. */
export type Choice = Pick<Plan, 'families' | 'wiring' | 'addresses' | 'mode'> & { readonly type: string };

/** All that can be written, lawful or not. */
export const CHOICES: readonly Choice[] = Object.keys(KINDS).flatMap((type) =>
  WIRING_NAMES.flatMap((wiring) =>
    (isPhysical(wiring) ? MODES[wiring] : [undefined]).flatMap((mode) =>
      (['lease', 'blocks', 'dhcp'] as const).flatMap((addresses) =>
        FAMILIES.map((families) => ({ type, wiring, addresses, families, ...(mode && { mode }) })),
      ),
    ),
  ),
);

/** Whether nodes accept such a configuration. */
export function isLawful({ type, wiring, addresses, families, mode }: Choice): boolean {
  const { attachments } = kindOf({ backend: { Type: type } });
  if (!attachments.some((each) => each === `${wiring} ${addresses}`)) return false;
  // A pod would take the nodes' own interface from them.
  if (mode === 'passthru') return false;
  return addresses !== 'dhcp' || (!families.includes(6) && !(mode && isRouted(mode)));
}

const LAWFUL = Map.groupBy(CHOICES.filter(isLawful), ({ type }) => type);

/** Every lawful configuration, on one network of nodes and on two, with and without direct routes. */
export function* everyPlan(size: number): Generator<Plan> {
  for (const [Type, choices] of LAWFUL) {
    const { directness, options } = kindOf({ backend: { Type } });
    const [sample] = fc.sample(options, { numRuns: 1, seed: 7 });
    for (const { type: _, ...choice } of choices) {
      for (const direct of directness) {
        for (const networks of [1, 2]) {
          const plan = { ...choice, size, networks, backend: { Type, ...sample, ...direct } };
          if (networks === 1 || canBeRouted(plan)) yield plan;
        }
      }
    }
  }
}

export const plans = (maxSize: number): fc.Arbitrary<Plan> => {
  const backends = [...LAWFUL].map(([Type, choices]) => {
    const { directness, options } = kindOf({ backend: { Type } });
    return fc
      .tuple(fc.constantFrom(...choices), options, fc.constantFrom(...directness))
      .map(([{ type: _, ...choice }, chosen, direct]) => ({
        ...choice,
        backend: { Type, ...chosen, ...direct },
      }));
  });
  return fc
    .tuple(
      fc.oneof(...backends),
      fc.record({ size: fc.integer({ min: 1, max: maxSize }), networks: fc.integer({ min: 1, max: 3 }) }),
    )
    .map(([chosen, place]) => ({ ...chosen, ...place }))
    .map((plan) => (canBeRouted(plan) ? plan : { ...plan, networks: 1 }));
};

/** Whether its nodes may be on several networks. */
function canBeRouted(plan: Plan): boolean {
  return kindOf(plan).routed(plan) && !isPhysical(plan.wiring ?? '');
}

export function networkOf(plan: Plan): Network {
  const { families, backend, addresses, mode } = plan;
  const wiring = plan.wiring ?? (backend.Type === 'bgp' ? 'routed' : 'bridge');
  const pools = isPhysical(wiring)
    ? {
        Network: PHYSICAL[4],
        SubnetMin: nthIp(PHYSICAL[4], 0x8000),
        IPv6Network: PHYSICAL[6],
        IPv6SubnetLen: 80,
        ...(mode && { [wiring]: { mode } }),
      }
    : { Network: POOLS[4], IPv6Network: POOLS[6] };
  return readNetwork({
    EnableIPv4: families.includes(4),
    EnableIPv6: families.includes(6),
    ...pools,
    ...(addresses && { addresses }),
    wiring,
    Backend: backend,
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
 * A pod of the `index`-th node, with the eighth address of each of its shares of the network; a bridge stands
 * for all pods.
 */
export function podsOf(plan: Plan, index: number): LocalPod[] {
  const { wiring } = networkOf(plan);
  if (wiring === 'bridge') return [];
  const pod: LocalPod = {
    containerId: 'c',
    labels: {},
    ifName: 'eth0',
    netns: '',
    addresses: podAddressesOf(plan, index),
    wiring,
  };
  return [isPhysical(wiring) ? { ...pod, mac: macFromSeed(`pod${index}`) } : { ...pod, hostDevice: 'cali0' }];
}

export function podAddressesOf(plan: Plan, index: number): Ip[] {
  return sharesOf(plan, placeOf(plan, index)).map((share) => nthIp(share, 7));
}

/** Where the `index`-th node's addresses and subnets are; never 0. */
function placeOf({ wiring = 'bridge' }: Plan, index: number, salt = 0): number {
  return index + 1 + salt * (isPhysical(wiring) ? 60 : 5000);
}

/** The parts of the pods' network that its pods have addresses of. */
function sharesOf({ families, wiring = 'bridge', addresses }: Plan, place: number): Cidr[] {
  const isSmall = addresses === 'blocks';
  return families.map((family) => {
    if (isPhysical(wiring)) {
      return family === 4
        ? cidrOf(nthIp(PHYSICAL[4], 0x8000 + place * 256), 24)
        : cidrOf(nthIp(PHYSICAL[6], BigInt(place) << 48n), 80);
    }
    return family === 4
      ? cidrOf(nthIp(POOLS[4], place * 256), isSmall ? 26 : 24)
      : cidrOf(nthIp(POOLS[6], BigInt(place) << 64n), isSmall ? 122 : 64);
  });
}

/** The `index`-th node, as it sees itself; `salt` gives it another address, subnet and so MAC. */
export function selfOf(plan: Plan, index: number, salt = 0): Self {
  const network = index % plan.networks;
  const onLink: Record<Family, Cidr> = {
    4: parseCidr(`172.${16 + network}.0.0/16`),
    6: parseCidr(`fd00:${network}::/64`),
  };
  const place = placeOf(plan, index, salt);
  const addresses: PerFamily<Ip> = Object.fromEntries(
    plan.families.map((family) => [family, nthIp(onLink[family], place + 1)]),
  );
  const subnets = plan.addresses === 'dhcp' ? [] : sharesOf(plan, place);
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
  return {
    node: { ...bare, backend: { ...bare.backend, data: published } },
    underlay,
    tunnelMacs,
    ...(isPhysical(plan.wiring ?? '') && {
      host: { ...NO_HOST, interfaces: [{ name: 'eth0', mtu: 1500, mac: macFromSeed(name) }] },
    }),
  };
}

export function factsOf(plan: Plan, index = 0, peers = nodesOf(plan)): Facts {
  const self = selfOf(plan, index);
  return { network: networkOf(plan), resources: resourcesOf(plan), self, peers, pods: podsOf(plan, index) };
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
    for (const pod of machinesOf(plan, i)) nodes.set(pod.name, pod);
  }
  return { nodes, routed: true };
}

/** The pod of a node, where it is a machine of its own on the nodes' network. */
function machinesOf(plan: Plan, index: number): TracedNode[] {
  const { physical } = networkOf(plan);
  if (!physical || isRouted(physical.mode)) return [];
  const { node, underlay } = selfOf(plan, index);
  const addresses: PerFamily<Ip> = Object.fromEntries(
    podAddressesOf(plan, index).map((ip) => [familyOf(ip), ip]),
  );
  return [{ name: `pod${index}`, state: new Map(), underlay: { ...underlay, addresses }, shares: node.name }];
}
