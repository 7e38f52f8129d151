import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readDocuments } from '../../../src/cluster/documents.ts';
import { readObject } from '../../../src/takeover/calico/object.ts';
import { calicoPlan } from '../../../src/takeover/calico/plan.ts';
import type { Plan } from '../../../src/takeover/plan.ts';

/** As `kubectl get -o yaml` prints them on a cluster of Calico 3.29. */
const CLUSTER = `
apiVersion: v1
kind: List
items:
- apiVersion: crd.projectcalico.org/v1
  kind: IPPool
  metadata:
    annotations: { projectcalico.org/metadata: '{"creationTimestamp":"2025-03-01T09:00:00Z"}' }
    creationTimestamp: "2025-03-01T09:00:00Z"
    generation: 2
    name: default-ipv4-ippool
    ownerReferences: [{ apiVersion: operator.tigera.io/v1, kind: Installation, name: default, uid: 5f }]
    resourceVersion: "1021"
    uid: 0b1f
  spec:
    allowedUses: [Workload, Tunnel]
    assignmentMode: Automatic
    blockSize: 26
    cidr: 192.168.0.0/16
    ipipMode: Always
    natOutgoing: true
    nodeSelector: all()
    vxlanMode: Never
- apiVersion: crd.projectcalico.org/v1
  kind: BGPConfiguration
  metadata: { name: default }
  spec: { asNumber: 64513, logSeverityScreen: Info, nodeToNodeMeshEnabled: false }
- apiVersion: crd.projectcalico.org/v1
  kind: BGPPeer
  metadata: { name: rack1 }
  spec: { peerIP: 10.0.0.254, asNumber: 64600, nodeSelector: rack == 'r1' }
- apiVersion: crd.projectcalico.org/v1
  kind: IPAMBlock
  metadata: { name: 192-168-166-128-26 }
  spec:
    affinity: host:node1
    allocations: [0, 1, 2, null, 3]
    attributes:
    - { handle_id: ipip-tunnel-addr-node1, secondary: { node: node1, type: ipipTunnelAddress } }
    - { handle_id: k8s-pod-network.aa, secondary: { namespace: default, node: node1, pod: web-1 } }
    - { handle_id: k8s-pod-network.bb, secondary: { namespace: default, node: node1, pod: web-2 } }
    - { handle_id: k8s-pod-network.cc, secondary: { namespace: default, node: node2, pod: far } }
    cidr: 192.168.166.128/26
    deleted: false
    strictAffinity: false
    unallocated: [3, 5, 6]
- apiVersion: crd.projectcalico.org/v1
  kind: BlockAffinity
  metadata: { name: node1-192-168-166-128-26 }
  spec: { cidr: 192.168.166.128/26, deleted: "false", node: node1, state: confirmed }
- apiVersion: crd.projectcalico.org/v1
  kind: IPAMConfig
  metadata: { name: default }
  spec: { autoAllocateBlocks: true, maxBlocksPerHost: 0, strictAffinity: true }
- apiVersion: crd.projectcalico.org/v1
  kind: ClusterInformation
  metadata: { name: default }
  spec: { calicoVersion: v3.29.1, datastoreReady: true }
- apiVersion: crd.projectcalico.org/v1
  kind: FelixConfiguration
  metadata: { name: default }
  spec: { floatingIPs: Disabled, ipipEnabled: true, logSeverityScreen: Info }
- apiVersion: v1
  kind: Node
  metadata:
    name: node1
    annotations:
      projectcalico.org/IPv4Address: 10.0.0.1/24
      projectcalico.org/IPv4IPIPTunnelAddr: 192.168.166.128
      projectcalico.org/RouteReflectorClusterID: 224.0.0.1
`;

function planOf(text: string): Plan {
  return calicoPlan(
    readDocuments(text, 'dump.yaml', 'CONFIG_INVALID').map(({ value, where }) => readObject(value, where)),
  );
}

test('what maps onto flatnet, and what is left', () => {
  const { steps, obstacles } = planOf(CLUSTER);
  assert.deepEqual(obstacles, []);
  assert.deepEqual(
    steps.map(({ action, object, text }) => `${action} ${object}: ${text}`),
    [
      'write network: addresses: blocks, wiring: routed, Backend.Type: bgp, for the pools 192.168.0.0/16',
      'write IPPool/default-ipv4-ippool: 192.168.0.0/16 in blocks of /26, IPIP Always, masqueraded',
      'write BGPConfiguration/default: AS 64513, mesh of nodes off',
      'write BGPPeer/rack1: 10.0.0.254 in AS 64600',
      'adopt block 192.168.166.128/26: node1 has it: 2 addresses of its pods stay, 1 of other nodes’ pods too, 1 of Calico’s tunnels become free',
      'write IPAMConfig/default: flatnet ipam configure: autoAllocateBlocks true, maxBlocksPerHost 0, strictAffinity true',
      'leave ClusterInformation/default: Calico’s own',
      'leave FelixConfiguration/default: Felix’s settings have no counterpart: floatingIPs, ipipEnabled, logSeverityScreen',
      'keep node node1: 10.0.0.1/24: its agent finds them by the default route; if not these, set iface',
      'write Node/node1: bgp.routeReflectorClusterID 224.0.0.1',
    ],
  );
});

/** One object each; the pool is there for the blocks. */
const POOL = `
apiVersion: crd.projectcalico.org/v1
kind: IPPool
metadata: { name: p }
spec: { cidr: 192.168.0.0/16 }
---
`;
const block = (spec: string): string => `
apiVersion: crd.projectcalico.org/v1
kind: IPAMBlock
metadata: { name: b }
spec: ${spec}
`;
const crd = (kind: string, spec: string): string => `
apiVersion: crd.projectcalico.org/v1
kind: ${kind}
metadata: { name: x }
spec: ${spec}
`;
const ADMIN_POLICY = crd('AdminNetworkPolicy', '{}').replace(
  'crd.projectcalico.org/v1',
  'policy.networking.k8s.io/v1alpha1',
);
const IN_THE_WAY: readonly (readonly [what: string, text: string, RegExp])[] = [
  [
    'a pool in VXLAN',
    crd('IPPool', '{ cidr: 10.0.0.0/16, vxlanMode: Always }'),
    /^IPPool\/x has no counterpart/,
  ],
  ['a pool without a network', crd('IPPool', '{}'), /^IPPool\/x/],
  [
    'a peer with reachableBy',
    POOL + crd('BGPPeer', '{ peerIP: 10.0.0.9, asNumber: 1, reachableBy: 10.0.0.1 }'),
    /^BGPPeer\/x/,
  ],
  ['no pool', '{ apiVersion: v1, kind: Node, metadata: { name: n } }', /^no IPPool found$/],
  [
    'a policy that flatnet cannot read',
    POOL + crd('GlobalNetworkPolicy', '{ doNotTrack: true }'),
    /^GlobalNetworkPolicy\/x cannot be read as it is$/,
  ],
  [
    'a policy without its Tier',
    POOL + crd('GlobalNetworkPolicy', '{ tier: own }'),
    /^GlobalNetworkPolicy\/x cannot/,
  ],
  ['a network set', POOL + crd('GlobalNetworkSet', '{ nets: [10.0.0.0/40] }'), /^GlobalNetworkSet\/x cannot/],
  ['WireGuard', POOL + crd('FelixConfiguration', '{ wireguardEnabled: true }'), /has wireguardEnabled/],
  ['a policy of administrators', POOL + ADMIN_POLICY, /^AdminNetworkPolicy\/x would no longer be enforced$/],
  ['a block outside all pools', POOL + block('{ cidr: 172.16.0.0/26, affinity: "host:a" }'), /^IPAMBlock\/b/],
  ['a block of nobody', POOL + block('{ cidr: 192.168.1.0/26 }'), /^IPAMBlock\/b/],
  ['a block that is deleted', POOL + block('{ cidr: 192.168.1.0/26, deleted: true }'), /^IPAMBlock\/b/],
  [
    'a block with too many addresses',
    POOL + block('{ cidr: 192.168.1.0/31, affinity: "host:a", allocations: [null, null, null] }'),
    /^IPAMBlock\/b/,
  ],
  [
    'a block whose attribute is missing',
    POOL + block('{ cidr: 192.168.1.0/26, affinity: "host:a", allocations: [7], attributes: [] }'),
    /^IPAMBlock\/b/,
  ],
  ['garbage in a block', POOL + block('{ cidr: 7, affinity: [] }'), /^IPAMBlock\/b/],
];

for (const [what, text, expected] of IN_THE_WAY) {
  test(`${what} is in the way, and named`, () => {
    const { steps, obstacles } = planOf(text);
    assert.equal(obstacles.length, 1, JSON.stringify(obstacles));
    assert.match(obstacles[0]?.what ?? '', expected);
    assert.ok(steps.some(({ action }) => action === 'leave'));
  });
}

test('policies that agents read stay where they are, and are to be enforced', () => {
  const own = (text: string): string => text.replace('name: x', 'name: own');
  const text = [
    crd('GlobalNetworkPolicy', '{ tier: own, ingress: [{ action: Deny }] }'),
    own(crd('Tier', '{ order: 5 }')),
    crd('StagedNetworkPolicy', '{ stagedAction: Set }').replace('name: x', 'name: x, namespace: shop'),
    crd('NetworkPolicy', '{ podSelector: {} }').replace('crd.projectcalico.org/v1', 'networking.k8s.io/v1'),
    crd('NetworkSet', '{ nets: [10.0.0.1] }'),
  ].join('---\n');
  const { steps, obstacles } = planOf(POOL + text);
  assert.deepEqual(obstacles, []);
  assert.deepEqual(
    steps.slice(2).map((step) => `${step.action} ${step.object}: ${step.text}`),
    [
      'keep GlobalNetworkPolicy/x: agents read it where it is',
      'keep Tier/own: agents read it where it is',
      'keep StagedNetworkPolicy/shop/x: agents count what it would do',
      'keep NetworkPolicy/x: agents read it where it is',
      'keep NetworkSet/x: agents read it where it is',
    ],
  );
  assert.match(steps[0]?.text ?? '', /; policy: true$/);
});

test('a node’s addresses and tunnels are found by its agent, its AS number is written', () => {
  const node = `
apiVersion: projectcalico.org/v3
kind: Node
metadata: { name: node2 }
spec: { bgp: { asNumber: 64999, ipv4Address: 10.0.0.2/24, ipv4IPIPTunnelAddr: 192.168.1.0 } }
`;
  assert.deepEqual(planOf(node).steps, [{ action: 'write', object: 'Node/node2', text: 'AS 64999' }]);
});

test('an unknown kind is named; an object without one is refused', () => {
  const { steps } = planOf('{ apiVersion: example.org/v1, kind: Widget, metadata: { name: w } }');
  assert.deepEqual(steps, [{ action: 'leave', object: 'Widget/w', text: 'flatnet does not know this kind' }]);
  assert.throws(() => planOf('{ metadata: { name: w } }'), { code: 'CONFIG_INVALID', object: /kind/ });
});
