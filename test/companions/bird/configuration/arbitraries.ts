import fc from 'fast-check';
import type { Node, PerFamily } from '../../../../src/cluster/node.ts';
import type {
  BgpConfiguration,
  BgpFilter,
  BgpPeer,
  FilterRule,
  Resources,
} from '../../../../src/cluster/resources.ts';
import type { BgpFacts, BgpPool, Gateway } from '../../../../src/companions/bird/configuration/facts.ts';
import { type Family, type Ip, parseIp } from '../../../../src/ip/address.ts';
import { type Cidr, cidrOf, nthIp, parseCidr } from '../../../../src/ip/cidr.ts';
import { tunnelMacsOf } from '../../../backends/tunnel-macs.ts';
import { cidrs, ips } from '../../../ip/arbitraries.ts';

/**
 * Names that must not break a BIRD configuration: keywords, quotes, comments, other scripts, too long for a
 * symbol.
 */
export const hostileNames: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom('table', 'exp', 'dead', 'all', 'filter', 'master4', 'Kernel4', 'Device', 'constructor'),
  fc.constantFrom('a"; reject; #', "it's", '/* */', '}\n}', '-', '1', 'é', 'a'.repeat(63), 'b'.repeat(253)),
  fc.string({ minLength: 1, maxLength: 80, unit: 'binary' }),
);

const NETWORKS: readonly Cidr[] = ['172.16.0.0/24', '172.16.1.0/24'].map(parseCidr);
const SIX = parseCidr('fd00::/64');

/** Addresses that no router or node has, or that BIRD reads in its own way. */
const HOSTILE: Record<Family, readonly Ip[]> = {
  4: ['0.0.0.0', '0.0.0.5', '127.0.0.1', '224.0.0.5', '240.0.0.1', '255.255.255.255'].map(parseIp),
  6: ['::', '::1', '::5', 'fe80::2ec8:1bff:feab:9e54', 'ff02::5', '::ffff:10.0.0.1', '::ffff:0.0.0.0'].map(
    parseIp,
  ),
};

/** Nodes with hostile names, on two networks, with IPv4, IPv6 or both. Some may have one of `hostiles`. */
const nodesOf = (hostiles: fc.Arbitrary<PerFamily<Ip> | undefined>): fc.Arbitrary<Node[]> =>
  fc
    .uniqueArray(
      fc.record({
        name: hostileNames,
        rack: fc.constantFrom('a', 'b'),
        reflector: fc.boolean(),
        families: fc.constantFrom<readonly Family[]>([4], [6], [4, 6]),
        hostile: hostiles,
      }),
      { minLength: 1, maxLength: 8, selector: ({ name }) => name },
    )
    .map((all) =>
      all.map(({ name, rack, reflector, families, hostile }, i) => ({
        name,
        labels: { rack, ...(reflector && { reflector: 'true' }) },
        addresses: { ...addressesOf(i, families), ...only(families, hostile) },
        subnets: [],
        backend: { type: 'bgp', data: {} },
      })),
    );

function addressesOf(i: number, families: readonly Family[]): PerFamily<Ip> {
  const four = nthIp(NETWORKS[i % 2] ?? SIX, i + 1);
  return { ...(families.includes(4) && { 4: four }), ...(families.includes(6) && { 6: nthIp(SIX, i + 1) }) };
}

function only(families: readonly Family[], addresses: PerFamily<Ip> = {}): PerFamily<Ip> {
  return Object.fromEntries(
    families.flatMap((family) => (addresses[family] ? [[family, addresses[family]]] : [])),
  );
}

const anyCidr = fc.oneof(cidrs(4), cidrs(6));
const asNumber = fc.integer({ min: 1, max: 4_294_967_295 });
const seconds = fc.integer({ min: 1, max: 1000 });
const community = fc.oneof(
  fc.tuple(fc.nat(65535), fc.nat(65535)),
  fc.tuple(fc.nat(65535), fc.nat(65535), fc.nat(65535)),
);
const password = fc.constant({ name: 'secret', key: 'key' });
const selector = fc.constantFrom('all()', "rack == 'a'", "rack != 'a'", 'has(reflector)', '!has(reflector)');

function record<T>(
  required: { [K in keyof T as undefined extends T[K] ? never : K]: fc.Arbitrary<T[K]> },
  optional: { [K in keyof T as undefined extends T[K] ? K : never]?: fc.Arbitrary<NonNullable<T[K]>> },
): fc.Arbitrary<T> {
  const model = { ...required, ...optional } as Record<string, fc.Arbitrary<unknown>>;
  const requiredKeys = Object.keys(required);
  return fc.record(model, { requiredKeys, noNullPrototype: true }) as unknown as fc.Arbitrary<T>;
}

const bgpConfiguration = record<BgpConfiguration>(
  {
    nodeToNodeMeshEnabled: fc.boolean(),
    asNumber,
    listenPort: fc.constantFrom(179, 1790),
    serviceCidrs: fc.array(anyCidr, { maxLength: 3 }),
    communities: fc.constant({}),
    prefixAdvertisements: fc.array(
      fc.record({ cidr: anyCidr, communities: fc.array(community, { maxLength: 3 }) }),
      { maxLength: 3 },
    ),
    ignoredInterfaces: fc.array(fc.oneof(fc.constantFrom('eth*', 'bond0.10'), hostileNames), {
      maxLength: 3,
    }),
  },
  { nodeMeshPassword: password, nodeMeshMaxRestartTime: seconds },
);

const filterRule = (family: Family): fc.Arbitrary<FilterRule> =>
  record<FilterRule>(
    { action: fc.constantFrom('Accept', 'Reject') },
    {
      cidr: cidrs(family),
      matchOperator: fc.constantFrom('Equal', 'NotEqual', 'In', 'NotIn'),
      prefixLength: fc.record({ min: fc.nat(32), max: fc.nat(32) }),
      source: fc.constant('RemotePeers'),
      interface: fc.oneof(fc.constant('eth*'), hostileNames),
    },
  );

const rules = (family: Family): fc.Arbitrary<FilterRule[]> => fc.array(filterRule(family), { maxLength: 3 });

const bgpFilters: fc.Arbitrary<BgpFilter[]> = fc.uniqueArray(
  fc.record({
    name: hostileNames,
    exportV4: rules(4),
    importV4: rules(4),
    exportV6: rules(6),
    importV6: rules(6),
  }),
  { maxLength: 4, selector: ({ name }) => name },
);

const peerIp = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.constantFrom(nthIp(NETWORKS[0] ?? SIX, 2), nthIp(NETWORKS[0] ?? SIX, 250), nthIp(SIX, 250)),
  },
  fc.constantFrom(...HOSTILE[4], ...HOSTILE[6]),
);

const bgpPeer = (filters: readonly BgpFilter[]): fc.Arbitrary<BgpPeer> =>
  record<BgpPeer>(
    {
      name: hostileNames,
      nextHopMode: fc.constantFrom('Auto', 'Self', 'Keep'),
      sourceAddress: fc.constantFrom('UseNodeIP', 'None'),
      bfd: fc.boolean(),
      filters: fc.subarray(filters.map(({ name }) => name)),
    },
    {
      nodeSelector: selector,
      peerSelector: selector,
      peerIp,
      port: fc.constantFrom(179, 1179),
      asNumber,
      localAsNumber: asNumber,
      password,
      maxRestartTime: seconds,
      keepaliveTime: seconds,
      numAllowedLocalAsNumbers: fc.integer({ min: 1, max: 10 }),
      ttlSecurity: fc.integer({ min: 1, max: 255 }),
    },
  );

export const resourcesOf = (nodes: readonly Node[]): fc.Arbitrary<Resources> =>
  bgpFilters.chain((filters) =>
    fc.record({
      ipPools: fc.constant([]),
      ipReservations: fc.constant([]),
      bgpConfiguration,
      bgpPeers: fc.uniqueArray(bgpPeer(filters), { maxLength: 5, selector: ({ name }) => name }),
      bgpFilters: fc.constant(filters),
      nodes: fc
        .array(fc.option(fc.constantFrom<Ip>('244.0.0.1' as Ip, '244.0.0.2' as Ip), { nil: undefined }), {
          minLength: nodes.length,
          maxLength: nodes.length,
        })
        .map((ids) =>
          Object.fromEntries(
            nodes.map(({ name }, i) => {
              const id = ids[i];
              return [name, { name, labels: {}, ...(id !== undefined && { routeReflectorClusterId: id }) }];
            }),
          ),
        ),
    }),
  );

const bgpPools: fc.Arbitrary<BgpPool[]> = fc.array(
  fc.record({
    cidr: anyCidr,
    ipipMode: fc.constantFrom('Never', 'Always', 'CrossSubnet'),
    disableBgpExport: fc.boolean(),
  }),
  { maxLength: 4 },
);

const hop = (family: Family): fc.Arbitrary<Gateway['hops'][number]> =>
  fc.record({ via: ips(family), dev: fc.oneof(fc.constantFrom('eth0', 'bond0.10', 'wg-0'), hostileNames) });
const gatewayOf = (family: Family): fc.Arbitrary<Gateway> =>
  fc.record({ dst: cidrs(family), hops: fc.array(hop(family), { minLength: 1, maxLength: 3 }) });
const gateways = fc.uniqueArray(fc.oneof(gatewayOf(4), gatewayOf(6)), {
  maxLength: 3,
  selector: ({ dst }) => dst,
});

/** Some that BIRD cannot express. */
const secrets = fc
  .oneof(
    { weight: 10, arbitrary: fc.constant('correct horse; battery { staple } # $\\') },
    fc.constantFrom('', 'a"; }', 'é', 'a\nb', '\0', 'a'.repeat(81)),
    fc.string({ unit: 'binary', maxLength: 90 }),
  )
  .map((password) => new Map([['secret/key', password]]));

/** A cluster of up to eight nodes as its first node sees it. */
const clustersOf = (nodes: fc.Arbitrary<Node[]>): fc.Arbitrary<BgpFacts> =>
  nodes.chain((all) =>
    fc.record({ resources: resourcesOf(all), pools: bgpPools, secrets, gateways }).map((rest) => ({
      ...rest,
      nodes: all,
      self: selfAt(all, 0),
    })),
  );

export const clusters = clustersOf(nodesOf(fc.constant(undefined)));

/** One in which some nodes have published addresses that cannot be theirs. */
export const hostileClusters = clustersOf(
  nodesOf(
    fc.oneof(
      { weight: 5, arbitrary: fc.constant(undefined) },
      fc.record({ 4: fc.constantFrom(...HOSTILE[4]), 6: fc.constantFrom(...HOSTILE[6]) }),
    ),
  ),
);

/** The same cluster from the point of view of its `index`-th node. */
export function seenBy(facts: BgpFacts, index: number): BgpFacts {
  return { ...facts, self: selfAt(facts.nodes, index) };
}

function selfAt(nodes: readonly Node[], index: number): BgpFacts['self'] {
  const node = nodes[index];
  if (!node) throw new Error(`there is no node ${index}`);
  const onLink = Object.values(node.addresses).map((ip) => cidrOf(ip, ip.includes(':') ? 64 : 24));
  const underlay = { dev: 'eth0', mtu: 1500, addresses: node.addresses, onLink };
  return { node, underlay, tunnelMacs: tunnelMacsOf(node.name) };
}
