import { type ContainerState, containerState } from '../runtime/container.ts';
import { isAlive } from '../runtime/process.ts';
import type { Lab } from './lab.ts';
import { type ContainerRecord, containerFile, type PodRecord } from './pod-record.ts';

export type PodStatus = Omit<PodRecord, 'containers'> & {
  /** `Running`; `Starting`: a command makes it now, or was cut short; `Lost`: its pause process has ended. */
  readonly phase: 'Running' | 'Starting' | 'Lost';
  readonly containers: readonly (ContainerRecord & ContainerState)[];
};

export function podStatus(lab: Lab, pod: PodRecord): PodStatus {
  const { sandbox } = pod;
  const alive = sandbox !== undefined && isAlive(sandbox);
  const phase = alive ? (pod.addresses.length ? 'Running' : 'Starting') : sandbox ? 'Lost' : 'Starting';
  const state = (container: ContainerRecord): ContainerState =>
    sandbox ? containerState(sandbox, containerFile(lab, pod, container.name, 'exit')) : { state: 'stopped' };
  return {
    ...pod,
    phase,
    containers: pod.containers.map((container) => ({ ...container, ...state(container) })),
  };
}
