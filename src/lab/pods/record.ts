import { join } from 'node:path';
import { FlatnetError } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';
import { netnsPath } from '../../linux/netns.ts';
import { isAlive, type ProcessId } from '../../linux/process.ts';
import { type ContainerState, containerState } from '../../runtime/container.ts';
import { namesIn, readJson, writeJson } from '../record/files.ts';
import { type Lab, labFlag } from '../record/lab.ts';
import { podNetns } from '../record/names.ts';

export type ContainerRecord = {
  readonly name: string;
  /** Empty if the pod does not come from a manifest. */
  readonly image: string;
  /** Describes to the user what runs in place of the image. */
  readonly note: string;
  /** Empty if nothing runs. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
};

/** The contents of pod.json: a container runtime's record of a pod. */
export type PodRecord = {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly created: string;
  /** The pod's container ID in CNI. */
  readonly containerId: string;
  /** The workload it belongs to: `Deployment/web`. */
  readonly owner?: string;
  /** The hash of the template it was created from. */
  readonly template?: string;
  /** Absent until the sandbox exists; addresses are empty until it is wired. */
  readonly sandbox?: ProcessId;
  readonly addresses: readonly Ip[];
  readonly containers: readonly ContainerRecord[];
};

export function readPods(lab: Lab): PodRecord[] {
  return namesIn(lab.paths.pods).flatMap((namespace) =>
    namesIn(join(lab.paths.pods, namespace)).flatMap((name) => readPod(lab, namespace, name) ?? []),
  );
}

export function readPod(lab: Lab, namespace: string, name: string): PodRecord | undefined {
  return readJson<PodRecord>(join(lab.paths.pod(namespace, name), 'pod.json'));
}

export function writePod(lab: Lab, pod: PodRecord): void {
  writeJson(join(lab.paths.pod(pod.namespace, pod.name), 'pod.json'), pod);
}

/** Throws NOT_FOUND, listing the existing pods. */
export function findPod(lab: Lab, namespace: string, name: string): PodRecord {
  const pod = readPod(lab, namespace, name);
  if (pod) return pod;
  const nearFirst = (a: PodRecord, b: PodRecord): number =>
    Number(b.namespace === namespace) - Number(a.namespace === namespace);
  const others = readPods(lab).sort(nearFirst).map(fullName);
  throw new FlatnetError(`there is no pod '${name}' in namespace '${namespace}'`, {
    code: 'NOT_FOUND',
    object: `lab ${lab.name}`,
    fix: others.length
      ? `the pods are ${few(others)}`
      : `create it: flatnet lab pod create ${name}${labFlag(lab.name)}`,
  });
}

export function fullName(pod: { readonly namespace: string; readonly name: string }): string {
  return `${pod.namespace}/${pod.name}`;
}

export function netnsOfPod(lab: Lab, pod: { readonly namespace: string; readonly name: string }): string {
  return netnsPath(podNetns(lab.name, pod.namespace, pod.name));
}

/** Returns the pod's pause process; throws NOT_FOUND if it has ended. */
export function sandboxOf(pod: PodRecord): ProcessId {
  if (pod.sandbox && isAlive(pod.sandbox)) return pod.sandbox;
  throw new FlatnetError('the pod is not running', {
    code: 'NOT_FOUND',
    object: fullName(pod),
    fix: `recreate it: flatnet lab pod delete ${fullName(pod)}, then create`,
  });
}

export function containerFile(lab: Lab, pod: PodRecord, container: string, extension: string): string {
  return join(lab.paths.pod(pod.namespace, pod.name), `${container}.${extension}`);
}

function few(names: readonly string[]): string {
  return names.length > 8 ? `${names.slice(0, 8).join(', ')}, …` : names.join(', ');
}

export type ContainerStatus = ContainerRecord & (ContainerState | { readonly state: 'not started' });

export type PodStatus = Omit<PodRecord, 'containers'> & {
  /** `Starting`: a command is creating it or was interrupted; `Lost`: its pause process has ended. */
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
