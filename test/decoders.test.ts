// Everything that reads what others wrote (the store, the Kubernetes API, runtimes, people) gets texts that
// are nearly right. It may refuse them, by an error that it means to throw; nothing else may happen.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configuredBackend } from '../src/backends/registry.ts';
import { decode } from '../src/cluster/calico/decode.ts';
import { readDocument } from '../src/cluster/calico/document.ts';
import { readResources } from '../src/cluster/calico/manifest.ts';
import { readDocuments } from '../src/cluster/documents.ts';
import { readNetworkFile } from '../src/cluster/network-file.ts';
import { parseSelector } from '../src/cluster/selector.ts';
import { readInvocation } from '../src/cni/protocol/invocation.ts';
import { decodeResult } from '../src/cni/protocol/result.ts';
import { decodeAttachment } from '../src/cni/records/record.ts';
import { readRangeSets } from '../src/ipam/ranges.ts';
import { parseSubnetFile } from '../src/ipam/subnet-file.ts';
import { readExecCredential } from '../src/kubernetes/access/exec-plugin.ts';
import { readKubeconfig } from '../src/kubernetes/access/kubeconfig.ts';
import { readLease } from '../src/kubernetes/election/lease-record.ts';
import { writtenIn } from '../src/policy/check.ts';
import { collectPolicies } from '../src/policy/collect.ts';
import { readPolicyDocument } from '../src/policy/document.ts';
import { decodeBlock, decodeConfig, decodeHandle } from '../src/store/etcd/block-codec.ts';
import { decodeNetwork } from '../src/store/etcd/network.ts';
import { decodeLease } from '../src/store/flannel/lease-value.ts';
import { decodeRecord } from '../src/store/flannel/node-record.ts';
import { annotationKeys } from '../src/store/kubernetes/node/keys.ts';
import { readNode } from '../src/store/kubernetes/node/read.ts';
import { decodeEvent, decodeKeyValue, decodeTransaction } from '../src/store/kv/gateway.ts';
import { decodePod } from '../src/store/values/pods.ts';
import { readContents } from '../src/transfer/read.ts';

/** Of each decoder. More by hand: FLATNET_FUZZ_CASES=1000000. */
const CASES = Number(process.env.FLATNET_FUZZ_CASES ?? 3000);
const SEED = Number(process.env.FLATNET_FUZZ_SEED ?? Date.now() % 1e9);
/** Milliseconds; of a case that is not stuck, however busy the machine. */
const PATIENCE = 5000;

type Decoder = {
  readonly read: (text: string) => unknown;
  readonly texts: readonly string[];
  /** YAML takes its time. */
  readonly isSlow?: true;
};

const ipPool = {
  apiVersion: 'projectcalico.org/v3',
  kind: 'IPPool',
  metadata: { name: 'a' },
  spec: { cidr: '10.0.0.0/16', blockSize: 26, ipipMode: 'Always', nodeSelector: 'all()', natOutgoing: true },
};
const bgpPeer = {
  apiVersion: 'projectcalico.org/v3',
  kind: 'BGPPeer',
  metadata: { name: 'b' },
  spec: { peerIP: '192.0.2.1:179', asNumber: 64512, nodeSelector: "rack == 'a' && !has(x)" },
};
const bgpFilter = {
  apiVersion: 'projectcalico.org/v3',
  kind: 'BGPFilter',
  metadata: { name: 'c' },
  spec: {
    exportV4: [
      { action: 'Accept', matchOperator: 'In', cidr: '10.0.0.0/8', prefixLength: { min: 8, max: 24 } },
    ],
  },
};
const block = {
  cidr: '10.0.0.0/26',
  node: 'a',
  sequence: 2,
  changed: 1,
  allocations: [{ ordinal: 0, handle: 'h', node: 'a', pod: 'x', namespace: 'y', sequence: 1, at: 5 }],
  released: [[1, 1]],
};
const network = {
  Network: '10.244.0.0/16',
  IPv6Network: 'fd00::/48',
  EnableIPv6: true,
  SubnetLen: 24,
  SubnetMin: '10.244.1.0',
  addresses: 'lease',
  wiring: 'bridge',
  Backend: { Type: 'vxlan', VNI: 7, Port: 8472, DirectRouting: true },
};
const conf = {
  cniVersion: '1.0.0',
  name: 'net',
  type: 'flatnet',
  ipam: { type: 'host-local', ranges: [[{ subnet: '10.0.0.0/24', rangeStart: '10.0.0.5' }]] },
  runtimeConfig: {
    portMappings: [{ hostPort: 80, containerPort: 80, protocol: 'tcp' }],
    bandwidth: { ingressRate: 1e6 },
  },
  args: { cni: { ips: ['10.0.0.7'] } },
};
const result = {
  cniVersion: '1.0.0',
  interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:01', sandbox: '/run/netns/a' }],
  ips: [{ address: '10.0.0.2/24', gateway: '10.0.0.1', interface: 0 }],
  routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1' }],
  dns: { nameservers: ['10.0.0.53'] },
};
const attachment = {
  network: 'net',
  containerId: 'abc',
  ifName: 'eth0',
  role: 'interface',
  state: 'ready',
  netns: '/run/netns/a',
  netnsId: 4026532000,
  bootId: 'b',
  dir: '/var/lib/cni',
  addresses: ['10.0.0.2/24'],
  hostDevice: 'veth1',
  mtu: 1450,
  wiring: 'routed',
  mac: '02:00:00:00:00:01',
  bandwidth: { ingress: { rate: 1000, burst: 100 } },
  hostPorts: [{ protocol: 'tcp', hostPort: 80, containerPort: 80 }],
  pod: { namespace: 'n', name: 'p', labels: { a: 'b' } },
};
const keyValue = {
  key: 'YQ==',
  value: 'Yg==',
  mod_revision: '3',
  create_revision: '1',
  version: '2',
  lease: '7',
};
const nodeObject = {
  apiVersion: 'v1',
  kind: 'Node',
  metadata: {
    name: 'n',
    uid: 'u',
    resourceVersion: '1',
    creationTimestamp: '2026-01-01T00:00:00Z',
    labels: { a: 'b' },
    annotations: {
      'flannel.alpha.coreos.com/backend-data': '{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}',
      'flannel.alpha.coreos.com/backend-type': 'vxlan',
      'flannel.alpha.coreos.com/kube-subnet-manager': 'true',
      'flannel.alpha.coreos.com/public-ip': '192.0.2.1',
    },
  },
  spec: { podCIDR: '10.244.1.0/24', podCIDRs: ['10.244.1.0/24'] },
  status: { conditions: [{ type: 'NetworkUnavailable', status: 'False', reason: 'x' }] },
};
const policies = [
  {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: 'a', namespace: 'n', labels: { a: 'b' } },
    spec: {
      podSelector: { matchExpressions: [{ key: 'a', operator: 'In', values: ['b'] }] },
      policyTypes: ['Ingress'],
      ingress: [
        {
          from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }, { namespaceSelector: {} }],
          ports: [{ port: 80, endPort: 90, protocol: 'TCP' }, { port: 'http' }],
        },
      ],
    },
  },
  {
    apiVersion: 'projectcalico.org/v3',
    kind: 'GlobalNetworkPolicy',
    metadata: { name: 'a' },
    spec: {
      tier: 'default',
      order: 5,
      selector: "a == 'b'",
      types: ['Egress'],
      egress: [{ action: 'Deny', protocol: 'UDP', destination: { nets: ['::/0'], ports: [53, '80:90'] } }],
    },
  },
];
const kubeconfig = {
  'current-context': 'a',
  contexts: [{ name: 'a', context: { cluster: 'c', user: 'u', namespace: 'n' } }],
  clusters: [{ name: 'c', cluster: { server: 'https://192.0.2.1:6443', 'insecure-skip-tls-verify': true } }],
  users: [{ name: 'u', user: { token: 't' } }],
};
const env = {
  CNI_CONTAINERID: 'abc',
  CNI_NETNS: '/run/netns/a',
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/opt/cni/bin',
};
const json = (text: string): unknown => JSON.parse(text);
const nothing = (): void => {};

const DECODERS: Readonly<Record<string, Decoder>> = {
  'the network': {
    read: (text) => configuredBackend(decodeNetwork(text, nothing)),
    texts: [JSON.stringify(network), '{"Network":"10.0.0.0/8","Backend":{"Type":"udp"}}'],
  },
  'a network file': {
    isSlow: true,
    read: (text) => readNetworkFile(text, 'net.yaml'),
    texts: ['network: 10.244.0.0/16\nbackend:\n  type: vxlan\n  vni: 7\n', JSON.stringify(network)],
  },
  'a lease': {
    read: (text) => decodeLease(text, nothing),
    texts: [
      '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}',
    ],
  },
  'a node’s record': {
    read: decodeRecord,
    texts: [
      '{"name":"a","instance":"i","labels":{"x":"y"},"addresses":["192.0.2.1","2001:db8::1"],"senders":["192.0.2.9"],"subnets":["10.0.0.0/24"],"backend":{"type":"bgp","data":{"4":{}}}}',
    ],
  },
  'a block': { read: decodeBlock, texts: [JSON.stringify(block)] },
  'a handle': { read: decodeHandle, texts: ['{"id":"h","blocks":{"10.0.0.0/26":2}}'] },
  'the configuration of blocks': {
    read: decodeConfig,
    texts: ['{"strictAffinity":true,"maxBlocksPerHost":4}'],
  },
  'a Node object': {
    read: (text) => {
      const value = json(text);
      const { metadata } = (value ?? {}) as { metadata?: { name?: unknown } };
      // The client's list guarantees these.
      if (typeof metadata !== 'object' || typeof metadata?.name !== 'string') return undefined;
      return readNode(annotationKeys('flannel.alpha.coreos.com'), value as never);
    },
    texts: [JSON.stringify(nodeObject)],
  },
  'a Lease object': {
    read: (text) => {
      const value = json(text);
      return typeof value === 'object' && value !== null ? readLease(value as never) : undefined;
    },
    texts: [
      '{"metadata":{"name":"x"},"spec":{"holderIdentity":"a","leaseDurationSeconds":15,"renewTime":"2026-01-01T00:00:00.000000Z"}}',
    ],
  },
  'a resource': {
    read: (text) => decode(readDocument(json(text))),
    texts: [ipPool, bgpPeer, bgpFilter].map((each) => JSON.stringify(each)),
  },
  'a manifest': {
    isSlow: true,
    read: (text) => readResources(readDocuments(text, 'a.yaml', 'CONFIG_INVALID'), 'a.yaml'),
    texts: [
      `apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: a\nspec:\n  cidr: 10.0.0.0/16\n---\n${JSON.stringify(bgpPeer)}\n`,
    ],
  },
  'a selector': {
    read: parseSelector,
    texts: ["a == 'b' && (!has(c) || d in {'e', \"f\"})", "all() && g contains 'h'"],
  },
  'a file of contents': {
    read: (text) => readContents(json(text), nothing),
    texts: [
      JSON.stringify({
        kind: 'FlatnetStore',
        version: 1,
        network,
        nodes: [],
        resources: [ipPool],
        ipam: { blocks: [block], affinities: [{ cidr: '10.0.0.0/26', node: 'a', state: 'confirmed' }] },
      }),
    ],
  },
  'a policy in the store': {
    read: (text) => {
      const document = readPolicyDocument({ value: json(text), where: '' });
      // What cannot be read is a problem among others, never an error.
      return collectPolicies([writtenIn(document)]);
    },
    texts: policies.map((each) => JSON.stringify(each)),
  },
  'a pod in the store': {
    read: (text) => decodePod(text, { namespace: 'n', name: 'p', node: 'a' }),
    texts: [
      '{"uid":"u","labels":{"a":"b"},"serviceAccount":"s","ports":[{"name":"http","protocol":6,"port":80}],"addresses":["10.0.0.2","fd00::2"]}',
    ],
  },
  'a key and its value': { read: (text) => decodeKeyValue(json(text)), texts: [JSON.stringify(keyValue)] },
  'an event': {
    read: (text) => decodeEvent(json(text)),
    texts: [JSON.stringify({ type: 'DELETE', kv: keyValue, prev_kv: keyValue })],
  },
  'a transaction’s answer': {
    read: (text) => decodeTransaction(json(text)),
    texts: [
      JSON.stringify({
        succeeded: true,
        header: { revision: '4' },
        responses: [{ response_range: { kvs: [keyValue] } }],
      }),
    ],
  },
  'a CNI call': { read: (text) => readInvocation('ADD', env, text), texts: [JSON.stringify(conf)] },
  'a CNI result': { read: (text) => decodeResult(json(text)), texts: [JSON.stringify(result)] },
  'address ranges': { read: (text) => readRangeSets(json(text)), texts: [JSON.stringify(conf.ipam)] },
  'an attachment’s record': { read: decodeAttachment, texts: [JSON.stringify(attachment)] },
  'subnet.env': {
    read: parseSubnetFile,
    texts: [
      'FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n',
    ],
  },
  'a kubeconfig': {
    isSlow: true,
    read: (text) => readKubeconfig([{ path: 'k', text }]),
    texts: [JSON.stringify(kubeconfig)],
  },
  'an exec plugin’s answer': {
    read: (text) => readExecCredential(text, 'client.authentication.k8s.io/v1'),
    texts: [
      '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t","expirationTimestamp":"2026-01-01T00:00:00Z"}}',
    ],
  },
};

/** Reproducible: a linear congruential generator. */
class Random {
  #state: bigint;
  constructor(seed: number) {
    this.#state = BigInt(seed);
  }
  below(limit: number): number {
    this.#state = BigInt.asUintN(64, this.#state * 6364136223846793005n + 1442695040888963407n);
    return Number(this.#state >> 33n) % limit;
  }
  of<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }
}

/** Values that programs, people and attackers write where another is expected. */
const HOSTILE: readonly unknown[] = [
  ...[
    null,
    true,
    false,
    0,
    -1,
    1.5,
    1e308,
    -0,
    2 ** 53,
    '',
    ' ',
    '0',
    '-1',
    '256',
    'a'.repeat(5000),
    '\0',
    '\u202e',
    '🙂',
  ],
  ...[
    [],
    {},
    [[]],
    [null],
    { '': null },
    '{}',
    '[]',
    '0.0.0.0/0',
    '::/0',
    '10.0.0.0/33',
    '10.0.0.1/24',
    '::ffff:10.0.0.1',
  ],
  ...[
    '127.0.0.1',
    '224.0.0.1',
    'ff:ff:ff:ff:ff:ff',
    '../../etc',
    '%s%n',
    '__proto__',
    'constructor',
    '1e9',
    'NaN',
    '0x10',
  ],
  nested(2000),
];

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let i = 0; i < depth; i++) value = [value];
  return value;
}

function mutated(text: string, random: Random): string {
  return random.below(2) === 0 ? mutatedText(text, random) : mutatedJson(text, random);
}

function mutatedText(text: string, random: Random): string {
  let out = text;
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const at = random.below(out.length + 1);
    const part = out.slice(at, at + random.below(20));
    out = random.of([
      () => out.slice(0, at),
      () => out.slice(0, at) + out.slice(at + part.length),
      () => out.slice(0, at) + part + out.slice(at),
      () => out.slice(0, at) + String.fromCharCode(random.below(0x250)) + out.slice(at + 1),
      () =>
        out.slice(0, at) +
        random.of(['"', '{', '[', ':', ',', '-', '.', '/', '\n', '9', '&', '*a', '!!x']) +
        out.slice(at),
    ])();
  }
  return out;
}

function mutatedJson(text: string, random: Random): string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return mutatedText(text, random);
  }
  for (let changes = 1 + random.below(3); changes > 0; changes--) value = changed(value, random);
  return JSON.stringify(value) ?? 'null';
}

/** The same value with another at a random place. */
function changed(value: unknown, random: Random): unknown {
  if (typeof value !== 'object' || value === null || random.below(5) === 0) return random.of(HOSTILE);
  if (Array.isArray(value)) {
    if (value.length === 0 || random.below(6) === 0) return [...value, random.of([...HOSTILE, ...value])];
    const at = random.below(value.length);
    return value.map((each, i) => (i === at ? changed(each, random) : each));
  }
  const entries = Object.entries(value);
  if (entries.length === 0) return { [String(random.of(HOSTILE))]: random.of(HOSTILE) };
  const at = random.below(entries.length);
  const next = entries.map(([key, each], i): [string, unknown] => [
    key,
    i === at ? changed(each, random) : each,
  ]);
  if (random.below(6) === 0) next.splice(at, 1);
  if (random.below(6) === 0) next.push([String(random.of(HOSTILE)), random.of(HOSTILE)]);
  return Object.fromEntries(next);
}

/** What a decoder never means to throw. */
const FAULTS = [TypeError, RangeError, ReferenceError, assert.AssertionError];

for (const [name, { read, texts, isSlow }] of Object.entries(DECODERS)) {
  test(`${name}: read or refused, whatever it says`, () => {
    const random = new Random(SEED);
    for (const text of texts) read(text);
    let refused = 0;
    for (let i = 0; i < (isSlow ? CASES / 10 : CASES); i++) {
      const text = mutated(random.of(texts), random);
      const begun = performance.now();
      try {
        read(text);
      } catch (error) {
        refused++;
        const isFault = FAULTS.some((fault) => error instanceof fault);
        assert.ok(!isFault, `seed ${SEED}: ${text.slice(0, 2000)}\n${error instanceof Error && error.stack}`);
      }
      assert.ok(performance.now() - begun < PATIENCE, `seed ${SEED}, slow: ${text.slice(0, 2000)}`);
    }
    assert.ok(refused > 0 || name === 'subnet.env', 'nothing was refused');
    assert.equal(Object.keys(Object.prototype).length, 0);
  });
}
