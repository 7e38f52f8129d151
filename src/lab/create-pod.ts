import { agentProcess } from './agent-process.ts';
import type { Lab } from './lab.ts';
import { namespaceName, podName } from './names.ts';
import { createPod } from './pod.ts';
import { type PodRecord, readPods } from './pod-record.ts';
import type { PodSpec } from './pod-spec.ts';
import { type Placement, type SchedulableNode, schedule } from './schedule.ts';

/** Makes a pod on the node the scheduler chooses. Throws what `schedule` and `createPod` throw. */
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
