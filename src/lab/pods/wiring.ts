import { ANNOTATIONS } from '../../cni/protocol/pod.ts';
import type { Ip } from '../../ip/address.ts';
import { netnsPath } from '../../linux/netns.ts';
import { type AttachmentOptions, addNetwork, delNetwork } from '../../runtime/cni-exec.ts';
import { LOOPBACK_NETWORK } from '../../runtime/conf-list.ts';
import type { Lab } from '../record/lab.ts';
import { netnsOf } from '../record/names.ts';
import { netnsOfPod, type PodRecord } from './record.ts';

/**
 * Wires the pod as containerd does: `lo` and `eth0`, each by its own CNI ADD. Returns the pod's addresses.
 */
export async function wirePod(lab: Lab, pod: PodRecord): Promise<Ip[]> {
  const [, { ips }] = await Promise.all([
    addNetwork({ ...attachment(lab, pod, 'lo'), network: LOOPBACK_NETWORK }),
    addNetwork(attachment(lab, pod, 'eth0')),
  ]);
  return ips.map(({ address }) => address.slice(0, address.indexOf('/')) as Ip);
}

/** CNI DEL. Also works for a partly created pod, or while the agent is down: it frees the addresses later. */
export async function unwirePod(lab: Lab, pod: PodRecord): Promise<void> {
  await delNetwork(attachment(lab, pod, 'eth0'));
  await delNetwork({ ...attachment(lab, pod, 'lo'), network: LOOPBACK_NETWORK });
}

function attachment(lab: Lab, pod: PodRecord, ifName: string): AttachmentOptions {
  const paths = lab.paths.node(pod.node);
  return {
    confDir: paths.agent.cniConf,
    cacheDir: paths.runtimeCache,
    binDirs: [paths.agent.cniBin],
    nodeNetns: netnsPath(netnsOf(lab.name, pod.node)),
    containerId: pod.containerId,
    ifName,
    netns: netnsOfPod(lab, pod),
    args: {
      IgnoreUnknown: '1',
      K8S_POD_NAMESPACE: pod.namespace,
      K8S_POD_NAME: pod.name,
      K8S_POD_INFRA_CONTAINER_ID: pod.containerId,
    },
    capabilities: { [ANNOTATIONS]: pod.annotations ?? {} },
    cniArgs: { labels: Object.entries(pod.labels).map(([key, value]) => ({ key, value })) },
  };
}
