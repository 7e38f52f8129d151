import { randomBytes } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { FlatnetError } from '../../error.ts';
import { createNetns, deleteNetns } from '../../linux/netns.ts';
import { isAlive } from '../../linux/process.ts';
import { createSandbox, destroySandbox } from '../../runtime/sandbox.ts';
import { agentProcess } from '../machine/agent.ts';
import { killInside } from '../machine/kill-inside.ts';
import { removeIfEmpty } from '../record/files.ts';
import { type Lab, labEnvironment } from '../record/lab.ts';
import { namespaceName, podName, podNetns } from '../record/names.ts';
import { startContainers } from './containers.ts';
import { fullName, netnsOfPod, type PodRecord, readPod, readPods, writePod } from './record.ts';
import { type Placement, type SchedulableNode, schedule } from './schedule.ts';
import type { PodSpec } from './spec.ts';
import { unwirePod, wirePod } from './wiring.ts';

/**
 * Creates a pod as a kubelet does: sandbox, CNI ADD, containers. If a step fails, everything is removed
 * again. Throws NAME_INVALID, NAME_TAKEN, and the errors of the steps.
 */
export async function createPod(lab: Lab, spec: PodSpec): Promise<PodRecord> {
  const { namespace, name, node, labels, annotations, owner, template, containers } = spec;
  namespaceName(namespace);
  podName(name);
  if (readPod(lab, namespace, name)) {
    throw new FlatnetError('a pod of this name already exists', {
      code: 'NAME_TAKEN',
      object: fullName(spec),
      fix: 'choose another name, or delete it first',
    });
  }
  let pod: PodRecord = {
    namespace,
    name,
    node,
    labels,
    ...(annotations && { annotations }),
    created: new Date().toISOString(),
    containerId: randomBytes(32).toString('hex'),
    ...(owner === undefined ? {} : { owner }),
    ...(template === undefined ? {} : { template }),
    addresses: [],
    containers: [],
  };
  const save = (changes: Partial<PodRecord>): void => {
    pod = { ...pod, ...changes };
    writePod(lab, pod);
  };
  save({});
  try {
    createNetns(podNetns(lab.name, namespace, name));
    const env = labEnvironment(lab.name);
    save({ sandbox: await createSandbox({ netns: netnsOfPod(lab, pod), hostname: name, env }) });
    save({ addresses: await wirePod(lab, pod) });
    save({ containers: await startContainers(lab, pod, containers) });
    return pod;
  } catch (error) {
    await deletePod(lab, pod).catch(() => undefined);
    throw error;
  }
}

/**
 * Ends the pod's processes, frees its addresses, removes its namespaces. Also works on a partly created pod:
 * the steps are independent.
 */
export async function deletePod(lab: Lab, pod: PodRecord): Promise<void> {
  // A pause process whose start was interrupted is in no record, but in the namespace.
  if (!pod.sandbox) await killInside(netnsOfPod(lab, pod));
  else if (isAlive(pod.sandbox)) await destroySandbox(pod.sandbox);
  if (existsSync(lab.paths.node(pod.node).agent.cniConf)) await unwirePod(lab, pod);
  deleteNetns(podNetns(lab.name, pod.namespace, pod.name));
  const folder = lab.paths.pod(pod.namespace, pod.name);
  rmSync(folder, { recursive: true, force: true });
  removeIfEmpty(dirname(folder));
}

/** Creates a pod on the node that the scheduler chooses. Throws the errors of `schedule` and `createPod`. */
export async function createPodAnywhere(
  lab: Lab,
  spec: Omit<PodSpec, 'node'> & Placement,
): Promise<PodRecord> {
  namespaceName(spec.namespace);
  podName(spec.name);
  const { nodeName, nodeSelector, ...pod } = spec;
  return createPod(lab, { ...pod, node: schedule(spec, schedulable(lab), readPods(lab)) });
}

export function schedulable(lab: Lab): SchedulableNode[] {
  return lab.nodes.map(({ name }) => ({ name, labels: {}, ready: agentProcess(lab, name) !== undefined }));
}
