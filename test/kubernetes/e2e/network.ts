import { writeFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';
import { familyOf } from '../../../src/ip/address.ts';
import type { KubeletCluster, Life } from '../nodes/cluster.ts';
import { CNI_BIN, CNI_CONF, type KubeletNode } from '../nodes/node.ts';
import { Service } from '../nodes/service.ts';
import { FOLDER } from '../nodes/switch.ts';

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

/** That of Calico's BGPConfiguration. */
const AS = 64512;

/** The same where nodes speak BGP: what is outside is a router that all of them peer with. */
export async function peerFromOutside({ after }: Life, { plane, nodes }: KubeletCluster): Promise<void> {
  const conf = join(FOLDER, 'outside.conf');
  writeFileSync(conf, outsideRouter(plane.addresses, nodes));
  const argv = ['ip', 'netns', 'exec', plane.netns, 'bird', '-f', '-c', conf];
  const bird = new Service([...argv, '-s', join(FOLDER, 'outside.ctl')], join(FOLDER, 'outside.log'));
  after(() => bird.stop());
  bird.start();
  const peers = plane.addresses.map((peerIP, i) => ({
    apiVersion: 'flatnet.dev/v1',
    kind: 'BGPPeer',
    metadata: { name: `outside-${i}` },
    spec: { peerIP, asNumber: AS },
  }));
  await plane.apply(...peers);
  await bird.until(async () => {
    const said = await plane.outside('birdc', '-s', join(FOLDER, 'outside.ctl'), 'show', 'protocols');
    return said.match(/BGP .*Established/g)?.length === nodes.length * plane.addresses.length;
  });
}

/** BIRD's configuration: it takes all that nodes announce. */
function outsideRouter(own: readonly string[], nodes: readonly KubeletNode[]): string {
  const sessions = own.flatMap((address) => {
    const family = familyOf(address);
    return nodes.map(({ name, addresses }) => {
      const neighbor = addresses.find((other) => familyOf(other) === family);
      return `protocol bgp ${name}_${family} {
  local ${address} as ${AS};
  neighbor ${neighbor} as ${AS};
  direct;
  ipv${family} { import all; export none; };
}`;
    });
  });
  const kernels = own.map(familyOf).map((family) => `protocol kernel { ipv${family} { export all; }; }`);
  return ['router id 10.0.0.10;', 'protocol device {}', ...kernels, ...sessions, ''].join('\n');
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
