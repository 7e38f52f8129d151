import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NODES } from '../../../src/store/kubernetes/kinds.ts';
import { NO_API_SERVER } from '../../kubernetes/api-server.ts';
import { NO_KERNEL } from '../../state/namespace.ts';
import { applyCrds } from '../../store/kubernetes/crds.ts';
import { KubernetesCluster } from './cluster.ts';

const IPV6_ONLY = { enableIPv4: false, enableIPv6: true, ipv6Network: '2001:cafe::/56' };
const PREFIX = 'flannel.alpha.coreos.com/';

type Case = {
  readonly network: object;
  readonly podCIDR?: (index: number) => string;
  /** flannel's annotations of node1, without the prefix, as flanneld 0.28.10 would write them. */
  readonly annotations: Readonly<Record<string, string | RegExp>>;
};

const podCIDR = (index: number): string => `2001:cafe:0:${index}::/64`;
const COMMON = { 'kube-subnet-manager': 'true', 'public-ipv6': 'fd77::11' };

const CASES: Readonly<Record<string, Case>> = {
  vxlan: {
    network: { ...IPV6_ONLY, backend: { type: 'vxlan' } },
    podCIDR,
    annotations: {
      ...COMMON,
      'backend-type': 'vxlan',
      'backend-v6-data': /^\{"VNI":1,"VtepMAC":"[0-9a-f:]{17}"\}$/,
    },
  },
  'host-gw': {
    network: { ...IPV6_ONLY, backend: { type: 'host-gw' } },
    podCIDR,
    annotations: {
      ...COMMON,
      'backend-type': 'host-gw',
      'backend-data': 'null',
      'backend-v6-data': 'null',
      'public-ip': '0.0.0.0',
    },
  },
  blocks: {
    network: {
      ...IPV6_ONLY,
      addresses: 'blocks',
      wiring: 'routed',
      backend: { type: 'bgp', ipipMode: 'Never' },
    },
    annotations: {},
  },
};

for (const [name, { network, podCIDR, annotations }] of Object.entries(CASES)) {
  test(`nodes without any IPv4 address (${name}): ready, pods reach each other, annotations as flannel’s`, {
    skip: NO_API_SERVER || NO_KERNEL,
    timeout: 200_000,
  }, async (t) => {
    const cluster = await KubernetesCluster.start(t, 2, undefined);
    const { admin } = cluster;
    if (!podCIDR) await applyCrds(admin);
    await cluster.configure(JSON.stringify(network));
    const nodes = ['node1', 'node2'];
    for (const [i, node] of nodes.entries()) {
      await cluster.run(node, 'ip', '-4', 'address', 'flush', 'dev', 'eth0');
      await cluster.register(node, podCIDR?.(i + 1));
      await cluster.startAgent(node);
    }
    for (const node of nodes) {
      const { problems } = await cluster.until(node, ({ ready, peers }) => ready && peers === 1);
      assert.deepEqual(problems, []);
      await cluster.untilCondition(node, 'FlatnetIsUp');
      for (const n of [1, 2]) await cluster.pod(`${node}-${n}`, node);
    }
    for (const pod of ['node1-1', 'node1-2', 'node2-1', 'node2-2']) {
      assert.match(cluster.ip(pod), podCIDR ? /^2001:cafe:0:[12]::/ : /^2001:cafe:/);
      assert.ok(await cluster.reaches('node1-1', pod), `node1-1 → ${pod}`);
      assert.ok(await cluster.reaches(pod, 'node2-1'), `${pod} → node2-1`);
    }
    const { metadata } = await admin.get(NODES, { name: 'node1' });
    const written = Object.entries(metadata.annotations ?? {}).filter(([key]) => key.startsWith(PREFIX));
    assert.deepEqual(
      written.map(([key]) => key.slice(PREFIX.length)).toSorted(),
      Object.keys(annotations).toSorted(),
    );
    for (const [key, value] of written) {
      const wanted = annotations[key.slice(PREFIX.length)] ?? '';
      if (typeof wanted === 'string') assert.equal(value, wanted, key);
      else assert.match(value, wanted);
    }
  });
}
