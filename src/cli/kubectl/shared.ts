import type { Command } from 'commander';
import { openAccess } from '../../kubernetes/access/open.ts';
import { KubernetesClient } from '../../kubernetes/api/client.ts';
import { list } from '../../kubernetes/api/list.ts';
import type { KubernetesObject } from '../../kubernetes/api/object.ts';
import type { ResourceType } from '../../kubernetes/api/resource.ts';

/** Which cluster, as kubectl's own options. */
export type ClusterOptions = {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace: string;
};

const CORE = { group: '', version: 'v1' };
export const NODES: ResourceType = { ...CORE, plural: 'nodes', kind: 'Node', namespaced: false };
const PODS: ResourceType = { ...CORE, plural: 'pods', kind: 'Pod', namespaced: true };

export function clusterOptions(command: Command): Command {
  return command
    .option('--kubeconfig <file>', 'as kubectl’s')
    .option('--context <name>', 'as kubectl’s')
    .option('-n, --namespace <name>', 'where the agents’ DaemonSet is', 'kube-flannel');
}

/** Runs `work` with a client of the cluster. */
export async function withCluster<T>(
  { kubeconfig, context }: ClusterOptions,
  work: (client: KubernetesClient) => Promise<T>,
): Promise<T> {
  const client = new KubernetesClient({ access: await openAccess({ kubeconfig, context }) });
  return work(client).finally(() => client.close());
}

/** The pods of the DaemonSet. */
export async function agentPods(
  client: KubernetesClient,
  { namespace }: ClusterOptions,
): Promise<readonly KubernetesObject[]> {
  const selection = { namespace, labelSelector: 'app=flatnet' };
  return (await list(client, PODS, (object) => object, selection)).items;
}
