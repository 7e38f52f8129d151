import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { collect, decode, type Resource } from '../../../src/cluster/calico/decode.ts';
import { defaultPools } from '../../../src/cluster/calico/default-pools.ts';
import { kindNamed, readDocument, titleOf } from '../../../src/cluster/calico/document.ts';
import { readResources, writeManifest } from '../../../src/cluster/calico/manifest.ts';
import { readDocuments } from '../../../src/cluster/documents.ts';
import { readNetwork } from '../../../src/cluster/network.ts';
import { NO_RESOURCES } from '../../../src/cluster/resources.ts';
import { resources } from './arbitraries.ts';

const readManifest = (text: string, filename: string) =>
  readResources(readDocuments(text, filename, 'CONFIG_INVALID'), filename);

test('valid documents decode to their meaning and survive YAML and JSON round trips', () => {
  fc.assert(
    fc.property(resources, ({ document, means }) => {
      assert.deepEqual(decode(document), means);
      assert.deepEqual(readManifest(writeManifest([document]), 'x.yaml'), [document]);
      assert.deepEqual(readManifest(JSON.stringify(document), 'x.json'), [document]);
    }),
    { numRuns: 1000 },
  );
});

test('several documents, lists, empty documents and the CRD’s version; fields added by a server are dropped', () => {
  const text = `
---
apiVersion: crd.projectcalico.org/v1
kind: IPPool
metadata:
  name: one
  uid: 7d0bd0a4
  creationTimestamp: 2024-01-01T00:00:00Z
  generation: 2
  managedFields: [{}]
  annotations: {note: kept}
  resourceVersion: "17"
spec: {cidr: 10.0.0.0/16, vxlanMode: Never, nodeSelector: ''}
status: {}
---
# nothing
---
apiVersion: projectcalico.org/v3
kind: BGPPeerList
items:
  - apiVersion: projectcalico.org/v3
    kind: BGPPeer
    metadata: {name: two}
    spec: {peerIP: 192.0.2.1, asNumber: "64513", keepOriginalNextHop: true}
`;
  const [one, two] = readManifest(text, 'x.yaml');
  assert.deepEqual(one, {
    apiVersion: 'projectcalico.org/v3',
    kind: 'IPPool',
    metadata: { name: 'one', annotations: { note: 'kept' }, resourceVersion: '17' },
    spec: { cidr: '10.0.0.0/16', vxlanMode: 'Never', nodeSelector: '' },
  });
  assert.ok(two);
  const peer = decode(two);
  assert.equal(peer.kind === 'BGPPeer' && peer.value.nextHopMode, 'Keep');
});

test('kinds by any name people use', () => {
  for (const word of ['IPPool', 'ippool', 'ippools', 'pool', 'pools'])
    assert.equal(kindNamed(word), 'IPPool');
  assert.equal(kindNamed('bgpconfig'), 'BGPConfiguration');
  assert.equal(kindNamed('nodes'), 'Node');
  for (const word of ['', 's', 'pod', 'constructor']) assert.throws(() => kindNamed(word), { code: 'USAGE' });
});

type Spec = Record<string, unknown>;
const pool = (spec: Spec) => ({ kind: 'IPPool', name: 'p', spec: { cidr: '10.0.0.0/16', ...spec } });
const config = (spec: Spec) => ({ kind: 'BGPConfiguration', name: 'default', spec });
const peer = (spec: Spec) => ({
  kind: 'BGPPeer',
  name: 'p',
  spec: { peerIP: '192.0.2.1', asNumber: 1, ...spec },
});
const rule = (each: unknown, list = 'importV4') => ({
  kind: 'BGPFilter',
  name: 'f',
  spec: { [list]: [each] },
});
const node = (spec: Spec) => ({ kind: 'Node', name: 'n', spec });

const REFUSED: readonly [{ kind: string; name: string; spec: unknown }, string, RegExp][] = [
  [pool({ cidr: undefined }), 'IPPool/p spec.cidr', /is missing/],
  [pool({ cidr: '' }), 'IPPool/p spec.cidr', /is missing/],
  [pool({ cidr: '10.0.0.0' }), 'IPPool/p spec.cidr', /not a network/],
  [pool({ cidr: '10.0.0.1/16' }), 'IPPool/p spec.cidr', /write 10\.0\.0\.0\/16/],
  [pool({ cidr: '169.254.0.0/20' }), 'IPPool/p spec.cidr', /overlaps 169\.254\.0\.0\/16/],
  [pool({ cidr: '0.0.0.0/0' }), 'IPPool/p spec.cidr', /overlaps/],
  [
    pool({ cidr: '10.0.0.0/28' }),
    'IPPool/p spec.cidr',
    /cannot hold a block of \/26; write a blockSize of 28/,
  ],
  [pool({ blockSize: 15 }), 'IPPool/p spec.blockSize', /from 20 to 32, not 15/],
  [pool({ blockSize: 33 }), 'IPPool/p spec.blockSize', /from 20 to 32, not 33/],
  [pool({ cidr: 'fd00::/120', blockSize: 116 }), 'IPPool/p spec.blockSize', /blockSize of 120/],
  [pool({ cidr: 'fd00::/64', blockSize: 26 }), 'IPPool/p spec.blockSize', /from 116 to 128, not 26/],
  [pool({ blockSize: '26' }), 'IPPool/p spec.blockSize', /whole number/],
  [pool({ cidr: 'fd00::/64', ipipMode: 'Always' }), 'IPPool/p spec.ipipMode', /IPIP carries IPv4 only/],
  [
    pool({ ipipMode: 'always' }),
    'IPPool/p spec.ipipMode',
    /must be Never or Always or CrossSubnet, not 'always'/,
  ],
  [
    pool({ vxlanMode: 'CrossSubnet' }),
    'IPPool/p spec.vxlanMode',
    /"CrossSubnet" is not supported: .*Backend\.Type/,
  ],
  [pool({ allowedUses: ['LoadBalancer'] }), 'IPPool/p spec.allowedUses', /is not supported: .*leave it out/],
  [pool({ ipip: { enabled: true } }), 'IPPool/p spec.ipip', /old API; use ipipMode/],
  [pool({ 'nat-outgoing': true }), 'IPPool/p spec.nat-outgoing', /old API/],
  [pool({ nodeSelector: "rack = 'a'" }), 'IPPool/p spec.nodeSelector', /expected ==.*position 6/],
  [pool({ natoutgoing: true }), 'IPPool/p spec.natoutgoing', /write natOutgoing/],
  [pool({ constructor: true }), 'IPPool/p spec.constructor', /is not a known field; the fields are /],
  [pool({ disabled: 'yes' }), 'IPPool/p spec.disabled', /true or false/],
  [
    { kind: 'IPReservation', name: 'r', spec: { reservedCIDRs: ['x'] } },
    'IPReservation/r spec.reservedCIDRs[0]',
    /not a network/,
  ],
  [
    { ...config({}), name: 'node.n' },
    'BGPConfiguration metadata.name',
    /the only configuration is 'default'/,
  ],
  [config({ asNumber: 0 }), 'BGPConfiguration/default spec.asNumber', /from 1 to 4294967295/],
  [config({ asNumber: '1.65536' }), 'BGPConfiguration/default spec.asNumber', /AS number/],
  [config({ asNumber: 1.1 }), 'BGPConfiguration/default spec.asNumber', /"high\.low" in quotes/],
  [
    config({ bindMode: 'NodeIP' }),
    'BGPConfiguration/default spec.bindMode',
    /"NodeIP" is not supported: BIRD listens on every address/,
  ],
  [
    config({ logSeverityScreen: 'Debug' }),
    'BGPConfiguration/default spec.logSeverityScreen',
    /not supported/,
  ],
  [
    config({ nodeMeshMaxRestartTime: '2h' }),
    'BGPConfiguration/default spec.nodeMeshMaxRestartTime',
    /1s to 4095s/,
  ],
  [
    config({ nodeMeshMaxRestartTime: '1.5s' }),
    'BGPConfiguration/default spec.nodeMeshMaxRestartTime',
    /whole seconds/,
  ],
  [
    config({ nodeMeshMaxRestartTime: '90' }),
    'BGPConfiguration/default spec.nodeMeshMaxRestartTime',
    /90 has no unit; write 90s/,
  ],
  [
    config({ serviceClusterIPs: ['10.96.0.0/12'] }),
    'BGPConfiguration/default spec.serviceClusterIPs[0]',
    /must be an object/,
  ],
  [
    config({ communities: [{ name: 'a', value: '70000:1' }] }),
    'BGPConfiguration/default spec.communities[0].value',
    /below 65536/,
  ],
  [
    config({ communities: [{ name: 'a";', value: '1:1' }] }),
    'BGPConfiguration/default spec.communities[0].name',
    /letters, digits/,
  ],
  [
    config({
      communities: [
        { name: 'a', value: '1:1' },
        { name: 'a', value: '1:2' },
      ],
    }),
    'BGPConfiguration/default spec.communities[1].name',
    /twice/,
  ],
  [
    config({ prefixAdvertisements: [{ cidr: '10.0.0.0/8', communities: ['toString'] }] }),
    'BGPConfiguration/default spec.prefixAdvertisements[0].communities[0]',
    /neither a community/,
  ],
  [
    config({ ignoredInterfaces: ['eth0"; }'] }),
    'BGPConfiguration/default spec.ignoredInterfaces[0]',
    /is not an interface name/,
  ],
  [
    config({ nodeMeshPassword: { secretKeyRef: { name: '../etc', key: 'x' } } }),
    'BGPConfiguration/default spec.nodeMeshPassword.secretKeyRef.name',
    /can't be/,
  ],
  [
    peer({ password: { secretKeyRef: { name: 's', key: '..' } } }),
    'BGPPeer/p spec.password.secretKeyRef.key',
    /can't be a key/,
  ],
  [peer({ password: 'secret' }), 'BGPPeer/p spec.password', /must be an object/],
  [peer({ peerIP: undefined }), 'BGPPeer/p spec.peerIP', /is missing.*peerSelector/],
  [peer({ peerIP: '192.0.2.1:0' }), 'BGPPeer/p spec.peerIP', /not a TCP port/],
  [
    peer({ peerIP: 'fe80::2ec8:1bff:feab:9e54' }),
    'BGPPeer/p spec.peerIP',
    /link-local and needs an interface/,
  ],
  [peer({ peerIP: '[fe80::1]:1179' }), 'BGPPeer/p spec.peerIP', /'fe80::1' is link-local/],
  [peer({ peerIP: 'fe80::1%eth0' }), 'BGPPeer/p spec.peerIP', /not an IP address/],
  [peer({ peerIP: '::' }), 'BGPPeer/p spec.peerIP', /'::' is no address/],
  [peer({ peerIP: '0.0.0.0' }), 'BGPPeer/p spec.peerIP', /'0\.0\.0\.0' is no address/],
  [peer({ peerIP: '::ffff:192.0.2.1' }), 'BGPPeer/p spec.peerIP', /write it as IPv4/],
  [peer({ peerIP: '127.0.0.1' }), 'BGPPeer/p spec.peerIP', /the host itself/],
  [peer({ peerIP: 'ff02::5' }), 'BGPPeer/p spec.peerIP', /multicast/],
  [peer({ peerIP: '224.0.0.5:179' }), 'BGPPeer/p spec.peerIP', /multicast/],
  [peer({ peerIP: '255.255.255.255' }), 'BGPPeer/p spec.peerIP', /reserved/],
  [peer({ peerIP: '[192.0.2.1' }), 'BGPPeer/p spec.peerIP', /not an IP address/],
  [
    peer({ asNumber: undefined }),
    'BGPPeer/p spec.asNumber',
    /is missing: set it to that of the router at 192\.0\.2\.1/,
  ],
  [peer({ peerSelector: 'all()' }), 'BGPPeer/p spec.peerSelector', /conflicts with peerIP/],
  [peer({ peerIP: '', peerSelector: 'all()' }), 'BGPPeer/p spec.asNumber', /conflicts with peerSelector/],
  [peer({ node: 'a', nodeSelector: 'all()' }), 'BGPPeer/p spec.nodeSelector', /conflicts with node/],
  [
    peer({ keepOriginalNextHop: true, nextHopMode: 'Self' }),
    'BGPPeer/p spec.keepOriginalNextHop',
    /contradicts nextHopMode Self/,
  ],
  [peer({ reachableBy: '192.0.2.9' }), 'BGPPeer/p spec.reachableBy', /not supported/],
  [peer({ reversePeering: 'Manual' }), 'BGPPeer/p spec.reversePeering', /not supported/],
  [peer({ ttlSecurity: 256 }), 'BGPPeer/p spec.ttlSecurity', /from 0 to 255/],
  [rule({ cidr: '10.0.0.0/8', matchOperator: 'In' }), 'BGPFilter/f spec.importV4[0].action', /is missing/],
  [rule({ action: 'accept' }), 'BGPFilter/f spec.importV4[0].action', /Accept or Reject/],
  [
    rule({ action: 'Accept', cidr: '10.0.0.0/8' }),
    'BGPFilter/f spec.importV4[0].matchOperator',
    /is required with cidr/,
  ],
  [
    rule({ action: 'Accept', matchOperator: 'In' }),
    'BGPFilter/f spec.importV4[0].cidr',
    /required with matchOperator/,
  ],
  [
    rule({ action: 'Accept', prefixLength: { min: 1 } }),
    'BGPFilter/f spec.importV4[0].cidr',
    /required with prefixLength/,
  ],
  [
    rule({ action: 'Accept', cidr: '10.0.0.0/8', matchOperator: 'In', prefixLength: { max: 7 } }),
    'BGPFilter/f spec.importV4[0].prefixLength.max',
    /7 is below the \/8 of cidr/,
  ],
  [
    rule({ action: 'Accept', cidr: '10.0.0.0/8', matchOperator: 'In' }, 'importV6'),
    'BGPFilter/f spec.importV6[0].cidr',
    /IPv6 belongs here/,
  ],
  [
    rule({ action: 'Accept', operations: [{}] }),
    'BGPFilter/f spec.importV4[0].operations',
    /is not a known field/,
  ],
  [
    node({ bgp: { ipv4Address: '192.0.2.1/24' } }),
    'Node/n spec.bgp.ipv4Address',
    /agent finds and publishes/,
  ],
  [
    node({ bgp: { routeReflectorClusterID: 'fd00::1' } }),
    'Node/n spec.bgp.routeReflectorClusterID',
    /IPv4 belongs here/,
  ],
  [node({ wireguard: {} }), 'Node/n spec.wireguard', /flatnet has no WireGuard/],
  [
    { kind: 'FelixConfiguration', name: 'default', spec: {} },
    'resource.kind',
    /'FelixConfiguration' is not supported; use one of IPPool/,
  ],
  [
    { kind: 'Pod', name: 'web', spec: {} },
    'resource.kind',
    /'Pod' is not supported; a lab runs it: flatnet lab apply/,
  ],
  [{ ...pool({}), name: 'Pool_1' }, 'IPPool metadata.name', /lower-case/],
  [{ ...pool({}), name: 'a/b' }, 'IPPool metadata.name', /lower-case/],
  [{ ...pool({}), name: '' }, 'IPPool metadata.name', /is missing/],
  [{ ...pool({}), name: 'a..b' }, 'IPPool metadata.name', /lower-case/],
  [{ ...pool({}), spec: [] }, 'IPPool/p spec', /must be an object, not a list/],
];

for (const [{ kind, name, spec }, object, message] of REFUSED) {
  test(`${object} ${JSON.stringify(spec)} is refused`, () => {
    const document = { apiVersion: 'projectcalico.org/v3', kind, metadata: { name }, spec };
    assert.throws(() => readManifest(JSON.stringify(document), 'x.json'), {
      code: 'CONFIG_INVALID',
      object: `x.json: ${object}`,
      message,
    });
  });
}

test('a file is refused as a whole, with the location of the error', () => {
  const good = 'apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: a}\n';
  const refused = (text: string, message: RegExp): void =>
    assert.throws(() => readManifest(text, 'x.yaml'), { code: 'CONFIG_INVALID', message });
  refused(`${good}---\n${good}`, /Node\/a is defined twice/);
  refused(
    `${good}---\n${good.replace('v3', 'v2')}`,
    /x\.yaml document 2: resource\.apiVersion: of Node must be/,
  );
  refused(`${good}---\nfoo: [`, /x\.yaml:5:7: /);
  refused(`${good}namespace: x\n`, /resource\.namespace: is not a known field/);
  refused(good.replace('{name: a}', '{name: a, namespace: x}'), /metadata\.namespace: is not a known field/);
  refused(
    good.replace('{name: a}', '{name: a, labels: {b: true}}'),
    /labels\.b: must be a string; put it in quotes/,
  );
  refused(
    `kind: List\nitems: [{kind: Node, apiVersion: projectcalico.org/v3}]`,
    /x\.yaml: items\[0\]: resource\.metadata: is missing/,
  );
  refused('just text', /must be an object, not "just text"/);
});

test('any object is a resource or CONFIG_INVALID, never another error', () => {
  const anything = fc.oneof(
    fc.anything(),
    fc.constantFrom('10.0.0.0/16', 'all()', 1, true, '', null, [], {}),
  );
  const broken = fc.tuple(
    resources,
    fc.array(fc.tuple(fc.nat(30), anything), { minLength: 1, maxLength: 3 }),
  );
  fc.assert(
    fc.property(broken, ([{ document }, changes]) => {
      const spec: Record<string, unknown> = { ...document.spec };
      const fields = Object.keys(spec);
      for (const [at, value] of changes) spec[fields[at % (fields.length + 1)] ?? 'more'] = value;
      try {
        decode(readDocument({ ...document, spec }));
      } catch (error) {
        assert.equal((error as { code?: unknown }).code, 'CONFIG_INVALID', String(error));
      }
    }),
    { numRuns: 1000 },
  );
});

test('collected by kind and name; lists of unchanged objects are the same lists', () => {
  const distinct = fc.uniqueArray(resources, {
    selector: ({ document }) => titleOf(document),
    maxLength: 12,
  });
  fc.assert(
    fc.property(distinct, (all) => {
      const values: Resource[] = all.map(({ means }) => means);
      const first = collect(values);
      const again = collect(values.toReversed(), first);
      assert.deepEqual(again, first);
      for (const [name, list] of Object.entries(first)) assert.equal(again[name as keyof typeof first], list);
      assert.equal(first.ipPools.length, values.filter(({ kind }) => kind === 'IPPool').length);
      assert.deepEqual(
        first.bgpPeers.map(({ name }) => name),
        first.bgpPeers.map(({ name }) => name).toSorted(),
      );
      const nodes = values.flatMap((each) => (each.kind === 'Node' ? [each.value] : []));
      for (const each of nodes) assert.equal(first.nodes[each.name], each);
    }),
  );
  assert.deepEqual(collect([]), NO_RESOURCES);
});

test('default pools are the networks of the file, in blocks, with the backend’s encapsulation', () => {
  const blocks = {
    Network: '10.244.0.0/16',
    EnableIPv6: true,
    IPv6Network: 'fd00::/64',
    addresses: 'blocks',
    wiring: 'routed',
  };
  const pools = (backend: object): unknown[] =>
    defaultPools(readNetwork({ ...blocks, Backend: { Type: 'bgp', ...backend } }))
      .map((document) => decode(document).value)
      .map((value) =>
        'ipipMode' in value
          ? [value.name, value.cidr, value.blockSize, value.ipipMode, value.natOutgoing]
          : [],
      );
  assert.deepEqual(pools({}), [
    ['default-ipv4-ippool', '10.244.0.0/16', 26, 'Always', true],
    ['default-ipv6-ippool', 'fd00::/64', 122, 'Never', true],
  ]);
  assert.deepEqual(
    pools({ ipipmode: 'CrossSubnet' }).map((each) => (each as unknown[])[3]),
    ['CrossSubnet', 'Never'],
  );
  assert.throws(() => pools({ ipipMode: 'sometimes' }), {
    code: 'CONFIG_INVALID',
    object: 'Backend.ipipMode',
  });
});
