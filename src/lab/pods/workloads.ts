import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { forEachLimited } from '../../async/each.ts';
import { namesIn, readJson, writeJson } from '../record/files.ts';
import type { Lab } from '../record/lab.ts';
import type { NamespaceManifest, Workload } from './manifest/read.ts';
import { createPod, deletePod, schedulable } from './pod.ts';
import { type PodRecord, podStatus, readPods } from './record.ts';
import { ownerOf, type Plan, planWorkloads } from './workload-plan.ts';

/** Pods created concurrently: as many as two cores can keep up with. */
const AT_ONCE = 4;

export type Changes = { readonly created: readonly PodRecord[]; readonly deleted: readonly PodRecord[] };

type Present = PodRecord & { readonly alive: boolean };

/** Plans the pending changes for the lab's workloads, or for the given ones instead. */
export function plan(lab: Lab, workloads: readonly Workload[] = readWorkloads(lab)): Plan<Present> {
  const pods = readPods(lab).map((pod) => ({ ...pod, alive: podStatus(lab, pod).phase === 'Running' }));
  return planWorkloads(workloads, schedulable(lab), pods);
}

/**
 * Creates missing pods of workloads, where nodes are available, and removes surplus ones.
 */
export async function converge(lab: Lab): Promise<Changes> {
  const { remove, create } = plan(lab);
  const created: PodRecord[] = [];
  // New pods may need the names and addresses of old ones.
  await forEachLimited(AT_ONCE, remove, (pod) => deletePod(lab, pod));
  await forEachLimited(AT_ONCE, create, async ({ namespace, name, node, workload }) => {
    const { labels, annotations, containers } = workload.template;
    const owner = ownerOf(workload);
    const spec = { namespace, name, node, labels, containers, owner, template: workload.hash };
    created.push(await createPod(lab, { ...spec, ...(annotations && { annotations }) }));
  });
  const order = (pod: PodRecord): number => create.findIndex(({ name }) => name === pod.name);
  created.sort((a, b) => order(a) - order(b));
  return { created, deleted: remove };
}

export function readWorkloads(lab: Lab): Workload[] {
  const root = lab.paths.workloads;
  return namesIn(root).flatMap((namespace) =>
    namesIn(join(root, namespace)).flatMap((file) => readJson<Workload>(join(root, namespace, file)) ?? []),
  );
}

export function saveWorkload(lab: Lab, workload: Workload): void {
  writeJson(fileOf(lab, workload), workload);
}

/** Its pods are removed by the next `converge`. */
export function removeWorkload(lab: Lab, workload: Pick<Workload, 'kind' | 'namespace' | 'name'>): void {
  rmSync(fileOf(lab, workload), { force: true });
}

function fileOf(lab: Lab, { kind, namespace, name }: Pick<Workload, 'kind' | 'namespace' | 'name'>): string {
  return join(lab.paths.workloads, namespace, `${kind}.${name}.json`);
}

type Namespaces = Readonly<Record<string, NamespaceManifest>>;

/** Returns the applied namespaces with their labels. Pods may also use a namespace that was never applied. */
export function readNamespaces(lab: Lab): Namespaces {
  return readJson<Namespaces>(lab.paths.namespaces) ?? {};
}

export function saveNamespace(lab: Lab, namespace: NamespaceManifest): void {
  writeJson(lab.paths.namespaces, { ...readNamespaces(lab), [namespace.name]: namespace });
}

export function removeNamespace(lab: Lab, name: string): void {
  const { [name]: _, ...rest } = readNamespaces(lab);
  writeJson(lab.paths.namespaces, rest);
}
