import fc from 'fast-check';
import { bgpAddressProblem } from '../../../src/cluster/calico/bgp-address.ts';
import type { Resource } from '../../../src/cluster/calico/decode.ts';
import { API_VERSION, type Document, type Kind } from '../../../src/cluster/calico/document.ts';
import type {
  BgpConfiguration,
  BgpFilter,
  BgpPeer,
  Community,
  FilterRule,
  IpPool,
  NodeBgp,
} from '../../../src/cluster/resources.ts';
import { BITS, type Family, familyOf, type Ip } from '../../../src/ip/address.ts';
import { type Cidr, hostCidr, lengthOf, parseCidr } from '../../../src/ip/cidr.ts';
import { anyCidr, anyIp, cidrs, ips } from '../../ip/arbitraries.ts';

/** A document as a user writes it, and its expected meaning. */
export type Written = { readonly document: Document; readonly means: Resource };

/** A field as written and its meaning; an absent field is not written and has its default. */
type Field<T> = { readonly text: unknown; readonly value: T };

export const names = fc.oneof(
  fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z0-9]{1,5})?$/),
  fc.constantFrom('default', 'table', 'protocol', 'constructor'),
);
const labels = fc.dictionary(fc.stringMatching(/^[a-z][a-z./-]{0,10}$/), fc.string({ maxLength: 8 }), {
  maxKeys: 3,
  noNullPrototype: true,
});
const selectors = fc.constantFrom('all()', "rack == 'a'", 'has(zone) && !has(x)', 'a in {"b", "c"}');
const interfaces = fc.constantFrom('eth0', 'docker*', 'br-?', 'cali*');

const plain = <T>(values: fc.Arbitrary<T>): fc.Arbitrary<Field<T>> =>
  values.map((value) => ({ text: value, value }));
/** Absent, empty as Go leaves it, or written. */
const maybe = <T>(field: fc.Arbitrary<Field<T>>): fc.Arbitrary<Field<T> | undefined> =>
  fc.option(field, { nil: undefined, freq: 2 });

const asNumbers: fc.Arbitrary<Field<number>> = fc
  .tuple(fc.integer({ min: 1, max: 2 ** 32 - 1 }), fc.nat(2))
  .map(([value, form]) => {
    const forms = [value, `${value}`, `${Math.floor(value / 65536)}.${value % 65536}`];
    return { text: forms[form], value };
  });
const times: fc.Arbitrary<Field<number>> = fc
  .tuple(fc.integer({ min: 1, max: 4095 }), fc.boolean())
  .map(([value, split]) => ({
    text: split ? `${Math.floor(value / 60)}m${value % 60}.0s` : `${value}s`,
    value,
  }));
const secrets = fc
  .tuple(
    fc.stringMatching(/^[a-z][a-z0-9.-]{0,8}[a-z]$/),
    fc.stringMatching(/^[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,8}$/),
  )
  .map(([name, key]) => ({ text: { secretKeyRef: { name, key } }, value: { name, key } }));
const communities: fc.Arbitrary<Field<Community>> = fc
  .oneof(
    fc.tuple(fc.nat(65535), fc.nat(65535)),
    fc.tuple(fc.nat(2 ** 32 - 1), fc.nat(2 ** 32 - 1), fc.nat(2 ** 32 - 1)),
  )
  .map((value) => ({ text: value.join(':'), value: value as Community }));

/** Puts written fields into a spec and what they mean into a value. */
function put<T>(spec: Record<string, unknown>, name: string, field: Field<T> | undefined): T | undefined {
  if (field === undefined) return undefined;
  spec[name] = field.text;
  return field.value;
}

/** Drops undefined keys. */
function compact<T extends object>(value: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as T;
}

function written(kind: Kind, name: string, spec: Record<string, unknown>, means: unknown): Written {
  return {
    document: { apiVersion: API_VERSION, kind, metadata: { name }, spec },
    means: { kind, value: means } as Resource,
  };
}

/** Networks that pods can use. */
const podNetworks: fc.Arbitrary<Cidr> = fc.oneof(
  fc
    .tuple(fc.nat(255), fc.integer({ min: 12, max: 28 }))
    .map(([i, length]) => parseCidr(`10.${i}.0.0/${length}`)),
  fc
    .tuple(fc.nat(0xffff), fc.integer({ min: 48, max: 124 }))
    .map(([i, length]) => parseCidr(`fd00:${i.toString(16)}::/${length}`)),
);

export const poolDocuments: fc.Arbitrary<Written> = fc
  .record({
    name: names,
    cidr: podNetworks,
    size: fc.nat(12),
    ipip: maybe(plain(fc.constantFrom('Never' as const, 'Always' as const, 'CrossSubnet' as const))),
    nat: maybe(plain(fc.boolean())),
    disabled: maybe(plain(fc.boolean())),
    noExport: maybe(plain(fc.boolean())),
    nodes: maybe(plain(selectors)),
    namespaces: maybe(plain(selectors)),
    mode: maybe(plain(fc.constantFrom('Automatic' as const, 'Manual' as const))),
    fixed: fc.subarray([
      ['vxlanMode', 'Never'],
      ['allowedUses', ['Workload', 'Tunnel']],
    ] as const),
  })
  .map(({ name, cidr, size, fixed, ...fields }) => {
    const bits = BITS[familyOf(cidr)];
    const usual = bits - 6;
    const spec: Record<string, unknown> = { cidr, ...Object.fromEntries(fixed) };
    const blockSize = Math.max(bits - size, lengthOf(cidr));
    if (blockSize !== usual || lengthOf(cidr) > usual || size % 2) spec.blockSize = blockSize;
    const six = familyOf(cidr) === 6;
    return written(
      'IPPool',
      name,
      spec,
      compact<IpPool>({
        name,
        cidr,
        blockSize,
        ipipMode: (six ? undefined : put(spec, 'ipipMode', fields.ipip)) ?? 'Never',
        natOutgoing: put(spec, 'natOutgoing', fields.nat) ?? false,
        disabled: put(spec, 'disabled', fields.disabled) ?? false,
        disableBgpExport: put(spec, 'disableBGPExport', fields.noExport) ?? false,
        nodeSelector: put(spec, 'nodeSelector', fields.nodes) ?? 'all()',
        namespaceSelector: put(spec, 'namespaceSelector', fields.namespaces),
        assignmentMode: put(spec, 'assignmentMode', fields.mode) ?? 'Automatic',
      }),
    );
  });

const reservations: fc.Arbitrary<Written> = fc
  .record({
    name: names,
    cidrs: fc.array(
      fc.oneof(
        anyCidr.map((cidr): Field<Cidr> => ({ text: cidr, value: cidr })),
        anyIp.map((ip): Field<Cidr> => ({ text: ip, value: hostCidr(ip) })),
      ),
      { maxLength: 4 },
    ),
  })
  .map(({ name, cidrs: list }) =>
    written(
      'IPReservation',
      name,
      { reservedCIDRs: list.map(({ text }) => text) },
      {
        name,
        cidrs: list.map(({ value }) => value),
      },
    ),
  );

const configurations: fc.Arbitrary<Written> = fc
  .record({
    mesh: maybe(plain(fc.boolean())),
    as: maybe(asNumbers),
    port: maybe(plain(fc.integer({ min: 1, max: 65535 }))),
    services: fc.uniqueArray(anyCidr, { maxLength: 3 }),
    named: fc.dictionary(fc.stringMatching(/^[a-z][a-z-]{0,5}[a-z]$/), communities, {
      maxKeys: 3,
      noNullPrototype: true,
    }),
    plain: fc.array(communities, { maxLength: 2 }),
    prefix: anyCidr,
    password: maybe(secrets),
    restart: maybe(times),
    ignored: maybe(plain(fc.array(interfaces, { maxLength: 2 }))),
    log: fc.boolean(),
  })
  .map(({ services, named, plain: bare, prefix, log, ...fields }) => {
    const spec: Record<string, unknown> = {
      serviceClusterIPs: services.slice(0, 1).map((cidr) => ({ cidr })),
      serviceExternalIPs: services.slice(1).map((cidr) => ({ cidr })),
      communities: Object.entries(named).map(([name, { text }]) => ({ name, value: text })),
      prefixAdvertisements: [
        { cidr: prefix, communities: [...Object.keys(named), ...bare.map(({ text }) => text)] },
      ],
      ...(log && { logSeverityScreen: 'Info', bindMode: 'None' }),
    };
    const values = Object.entries(named).map(([name, { value }]) => [name, value] as const);
    return written(
      'BGPConfiguration',
      'default',
      spec,
      compact<BgpConfiguration>({
        nodeToNodeMeshEnabled: put(spec, 'nodeToNodeMeshEnabled', fields.mesh) ?? true,
        asNumber: put(spec, 'asNumber', fields.as) ?? 64512,
        listenPort: put(spec, 'listenPort', fields.port) ?? 179,
        serviceCidrs: services,
        communities: Object.fromEntries(values),
        prefixAdvertisements: [
          {
            cidr: prefix,
            communities: [...values.map(([, value]) => value), ...bare.map(({ value }) => value)],
          },
        ],
        nodeMeshPassword: put(spec, 'nodeMeshPassword', fields.password),
        nodeMeshMaxRestartTime: put(spec, 'nodeMeshMaxRestartTime', fields.restart),
        ignoredInterfaces: put(spec, 'ignoredInterfaces', fields.ignored) ?? [],
      }),
    );
  });

type PeerEnd = { readonly spec: object; readonly means: Partial<BgpPeer> };
const outside: fc.Arbitrary<PeerEnd> = fc
  .record({
    ip: anyIp.filter((ip) => bgpAddressProblem(ip) === undefined),
    port: maybe(plain(fc.integer({ min: 1, max: 65535 }))),
    as: asNumbers,
  })
  .map(({ ip, port, as }) => ({
    spec: { peerIP: port ? withPort(ip, port.value) : ip, asNumber: as.text },
    means: compact<Partial<BgpPeer>>({ peerIp: ip, port: port?.value, asNumber: as.value }),
  }));
const inside: fc.Arbitrary<PeerEnd> = selectors.map((text) => ({
  spec: { peerSelector: text, peerIP: '' },
  means: { peerSelector: text },
}));
const withPort = (ip: Ip, port: number): string => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`);

const peers: fc.Arbitrary<Written> = fc
  .record({
    name: names,
    end: fc.oneof(outside, inside),
    ours: fc.constantFrom({}, { node: 'node1' }, { nodeSelector: "rack == 'a'" }),
    local: maybe(asNumbers),
    hop: maybe(plain(fc.constantFrom('Auto' as const, 'Self' as const, 'Keep' as const))),
    password: maybe(secrets),
    source: maybe(plain(fc.constantFrom('UseNodeIP' as const, 'None' as const))),
    restart: maybe(times),
    keepalive: maybe(times),
    allowed: maybe(plain(fc.nat(10))),
    ttl: maybe(plain(fc.integer({ min: 1, max: 255 }))),
    bfd: maybe(plain(fc.boolean())),
    filters: maybe(plain(fc.array(names, { maxLength: 2 }))),
  })
  .map(({ name, end, ours, ...fields }) => {
    const spec: Record<string, unknown> = { ...end.spec, ...ours };
    return written('BGPPeer', name, spec, {
      ...end.means,
      ...ours,
      ...compact<Partial<BgpPeer>>({
        name,
        localAsNumber: put(spec, 'localASNumber', fields.local),
        nextHopMode: put(spec, 'nextHopMode', fields.hop) ?? 'Auto',
        password: put(spec, 'password', fields.password),
        sourceAddress: put(spec, 'sourceAddress', fields.source) ?? 'UseNodeIP',
        maxRestartTime: put(spec, 'maxRestartTime', fields.restart),
        keepaliveTime: put(spec, 'keepaliveTime', fields.keepalive),
        numAllowedLocalAsNumbers: put(spec, 'numAllowedLocalASNumbers', fields.allowed),
        ttlSecurity: put(spec, 'ttlSecurity', fields.ttl),
        bfd: put(spec, 'bfd', fields.bfd) ?? false,
        filters: put(spec, 'filters', fields.filters) ?? [],
      }),
    });
  });

/** Rules, whose meaning equals their text. */
function rules(family: Family): fc.Arbitrary<FilterRule[]> {
  const network = fc
    .tuple(
      cidrs(family),
      fc.constantFrom('Equal' as const, 'NotEqual' as const, 'In' as const, 'NotIn' as const),
      fc.boolean(),
    )
    .map(([cidr, matchOperator, bounded]) => ({
      cidr,
      matchOperator,
      ...(bounded && { prefixLength: { min: lengthOf(cidr), max: BITS[family] } }),
    }));
  return fc.array(
    fc
      .tuple(
        fc.constantFrom('Accept' as const, 'Reject' as const),
        fc.oneof(fc.constant({}), network),
        fc.constantFrom({}, { source: 'RemotePeers' as const }, { interface: 'eth*' }),
      )
      .map(([action, match, more]) => ({ action, ...match, ...more })),
    { maxLength: 3 },
  );
}

const filters: fc.Arbitrary<Written> = fc
  .record({ name: names, exportV4: rules(4), importV4: rules(4), exportV6: rules(6), importV6: rules(6) })
  .map(({ name, ...spec }) => written('BGPFilter', name, spec, { name, ...spec } satisfies BgpFilter));

const nodes: fc.Arbitrary<Written> = fc
  .record({
    name: names,
    labels: fc.option(labels, { nil: undefined }),
    as: maybe(asNumbers),
    cluster: maybe(plain(ips(4))),
  })
  .map(({ name, labels: given, as, cluster }) => {
    const bgp: Record<string, unknown> = {};
    const means = compact<NodeBgp>({
      name,
      labels: given ?? {},
      asNumber: put(bgp, 'asNumber', as),
      routeReflectorClusterId: put(bgp, 'routeReflectorClusterID', cluster),
    });
    const node = written('Node', name, as || cluster ? { bgp } : {}, means);
    const metadata = { name, ...(given && { labels: given }) };
    return { ...node, document: { ...node.document, metadata } };
  });

/** Any valid resource. */
export const resources: fc.Arbitrary<Written> = fc.oneof(
  poolDocuments,
  reservations,
  configurations,
  peers,
  filters,
  nodes,
);
