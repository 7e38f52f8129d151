import { isAlive } from '../../linux/process.ts';
import { type ContainerState, containerState } from '../../runtime/container.ts';
import type { Lab } from '../record/lab.ts';
import { type ContainerRecord, containerFile, type PodRecord } from './record.ts';

export type ContainerStatus = ContainerRecord & (ContainerState | { readonly state: 'not started' });

export type PodStatus = Omit<PodRecord, 'containers'> & {
  /** `Running`; `Starting`: a command makes it now, or was cut short; `Lost`: its pause process has ended. */
  readonly phase: 'Running' | 'Starting' | 'Lost';
  readonly containers: readonly ContainerStatus[];
};

export function podStatus(lab: Lab, pod: PodRecord): PodStatus {
  return {
    ...pod,
    phase: phaseOf(pod),
    containers: pod.containers.map((container) => containerStatus(lab, pod, container)),
  };
}

function phaseOf({ sandbox, addresses }: PodRecord): PodStatus['phase'] {
  if (sandbox && !isAlive(sandbox)) return 'Lost';
  return sandbox && addresses.length ? 'Running' : 'Starting';
}

function containerStatus(lab: Lab, pod: PodRecord, container: ContainerRecord): ContainerStatus {
  if (container.argv.length === 0 || !pod.sandbox) return { ...container, state: 'not started' };
  return { ...container, ...containerState(pod.sandbox, containerFile(lab, pod, container.name, 'exit')) };
}
