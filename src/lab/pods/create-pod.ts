import { agentProcess } from '../machine/agent.ts';
import type { Lab } from '../record/lab.ts';
import { namespaceName, podName } from '../record/names.ts';
import { createPod } from './pod.ts';
import { type PodRecord, readPods } from './record.ts';
import { type Placement, type SchedulableNode, schedule } from './schedule.ts';
import type { PodSpec } from './spec.ts';

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
