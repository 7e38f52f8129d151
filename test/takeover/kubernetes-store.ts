import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import type { KubernetesClient } from '../../src/kubernetes/api/client.ts';
import { CONFIG_MAPS, NODES } from '../../src/store/kubernetes/kinds.ts';
import type { ApiServer } from '../kubernetes/api-server.ts';
import { serviceAccount } from '../kubernetes/service-account.ts';
import { agentToken, NAMESPACE } from '../store/kubernetes/rights.ts';
import type { FlannelStore, StoreSite } from './flannel-store.ts';

/** As in flannel's manifest. */
const FLANNELS_RIGHTS = [
  { apiGroups: [''], resources: ['pods'], verbs: ['get'] },
  { apiGroups: [''], resources: ['nodes'], verbs: ['get', 'list', 'watch'] },
  { apiGroups: [''], resources: ['nodes/status'], verbs: ['patch'] },
];

/**
 * A real API server, with flannel's ConfigMap and the rights that flannel's manifest and ours ship. Nodes
 * reach it on their own 127.0.0.1. Node N has the podCIDR 10.244.N.0/24, as by kube-controller-manager.
 */
export function kubernetesStore(
  server: ApiServer,
  admin: KubernetesClient,
): (site: StoreSite) => Promise<FlannelStore> {
  return async ({ dir, netConf }) => {
    const ours = server.kubeconfig(await agentToken(admin));
    const flannels = server.kubeconfig(await serviceAccount(admin, 'flannel', FLANNELS_RIGHTS));
    const text = JSON.stringify(netConf);
    const metadata = { namespace: NAMESPACE, name: 'kube-flannel-cfg' };
    await admin.create(CONFIG_MAPS, { metadata, data: { 'net-conf.json': text } });
    // Mounted, in flannel's pods.
    const file = join(dir, 'net-conf.json');
    writeFileSync(file, text);
    const socket = join(dir, 'api.sock');
    const relay = await relayTo(server.port, socket);
    const tunnels: ChildProcess[] = [];
    return {
      flanneld: ['--kube-subnet-mgr', `--kubeconfig-file=${flannels}`, `--net-config-path=${file}`],
      agent: { kubernetes: { kubeconfig: ours, namespace: NAMESPACE } },
      join: async ({ name, netns, index }) => {
        const main = join(import.meta.dirname, '../kubernetes/tunnel-main.ts');
        const argv = ['netns', 'exec', netns, process.execPath, main, `${server.port}`, socket];
        const tunnel = spawn('ip', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
        tunnels.push(tunnel);
        await once(tunnel.stdout, 'data');
        const podCIDR = `10.244.${index}.0/24`;
        // As every Node has some, flanneld does not start without annotations.
        const annotations = { 'node.alpha.kubernetes.io/ttl': '0' };
        await admin.create(NODES, {
          metadata: { name, annotations },
          spec: { podCIDR, podCIDRs: [podCIDR] },
        });
      },
      end: async () => {
        for (const tunnel of tunnels) tunnel.kill('SIGKILL');
        relay.close();
      },
    };
  };
}

/** A unix socket can be reached from every network namespace. */
async function relayTo(port: number, socket: string): Promise<net.Server> {
  const relay = net.createServer((client) => {
    const far = net.connect(port, '127.0.0.1');
    client.pipe(far).pipe(client);
    client.on('error', () => {}).on('close', () => far.destroy());
    far.on('error', () => {}).on('close', () => client.destroy());
  });
  relay.listen(socket);
  await once(relay, 'listening');
  return relay;
}
