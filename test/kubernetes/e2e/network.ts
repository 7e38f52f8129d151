import { isIPv6 } from 'node:net';
import type { KubeletCluster } from '../nodes/cluster.ts';
import { CNI_BIN, CNI_CONF, type KubeletNode } from '../nodes/node.ts';

/**
 * Gives the nodes the plainest pod network there is: the reference bridge plugin, and a route to each other
 * node's pods. A case that fails with it, too, is not flatnet's.
 */
export async function installReference(cluster: KubeletCluster): Promise<void> {
  for (const node of cluster.nodes) {
    const ranges = (await cluster.podCidrs(node)).map((subnet) => [{ subnet }]);
    const routes = node.addresses.map((ip) => ({ dst: isIPv6(ip) ? '::/0' : '0.0.0.0/0' }));
    const ipam = { type: 'host-local', ranges, routes };
    const bridge = { type: 'bridge', bridge: 'cni0', isGateway: true, hairpinMode: true, ipam };
    const portmap = { type: 'portmap', capabilities: { portMappings: true } };
    const conflist = { cniVersion: '1.0.0', name: 'reference', plugins: [bridge, portmap] };
    for (const other of cluster.nodes) {
      if (other !== node) await routePods(cluster, node, (...argv) => other.exec(...argv));
    }
    const script = `mkdir -p ${CNI_CONF} && ln -s /usr/lib/cni ${CNI_BIN} && echo "$1" >${CNI_CONF}/10-reference.conflist`;
    await node.exec('sh', '-c', script, 'sh', JSON.stringify(conflist));
  }
}

/** Lets the API server, which is on no node, reach pods: some cases ask them through its proxy. */
export async function routeFromOutside(cluster: KubeletCluster): Promise<void> {
  const { plane, nodes } = cluster;
  for (const node of nodes) await routePods(cluster, node, (...argv) => plane.outside(...argv));
}

async function routePods(
  cluster: KubeletCluster,
  to: KubeletNode,
  from: (...argv: readonly string[]) => Promise<string>,
): Promise<void> {
  for (const prefix of await cluster.podCidrs(to)) {
    const via = to.addresses.find((address) => isIPv6(address) === prefix.includes(':'));
    await from('ip', 'route', 'replace', prefix, 'via', via ?? '');
  }
}
