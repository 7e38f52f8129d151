import { isDeepStrictEqual } from 'node:util';
import { FlatnetError } from '../../error.ts';
import { idOf } from '../../policy/document.ts';
import { policyText } from '../../policy/model/policy.ts';
import type { Lab } from '../record/lab.ts';
import { keyOf, type Manifest, type PodManifest, type PolicyManifest } from './manifest/read.ts';
import { createPodAnywhere, deletePod, schedulable } from './pod.ts';
import { applyPolicies, removePolicies } from './policies.ts';
import { fullName, type PodRecord, podStatus, readPod, readPods } from './record.ts';
import { schedule } from './schedule.ts';
import {
  converge,
  plan,
  readNamespaces,
  readWorkloads,
  removeNamespace,
  removeWorkload,
  saveNamespace,
  saveWorkload,
} from './workloads.ts';

export type Outcome = 'created' | 'configured' | 'unchanged' | 'deleted' | 'absent';

export type ApplyReport = {
  readonly objects: readonly { readonly object: string; readonly outcome: Outcome }[];
  readonly created: readonly PodRecord[];
  readonly deleted: readonly PodRecord[];
};

/**
 * Creates or updates the objects in the manifests, like `kubectl apply`; objects that already match are left
 * alone. Deployments spread their replicas over the nodes. A container that exits is not restarted.
 */
export async function apply(lab: Lab, manifests: readonly Manifest[]): Promise<ApplyReport> {
  checkFeasible(lab, manifests);
  // First: then the pods are protected from the start.
  const policies = await applyPolicies(lab, manifests);
  const objects: { object: string; outcome: Outcome }[] = [];
  const pods: { created: PodRecord[]; deleted: PodRecord[] } = { created: [], deleted: [] };
  for (const manifest of manifests) {
    const outcome =
      manifest.kind === 'Pod'
        ? await applyPod(lab, manifest, pods)
        : manifest.kind === 'Policy'
          ? outcomeOf(manifest, policies)
          : record(lab, manifest);
    objects.push({ object: objectName(manifest), outcome });
  }
  const { created, deleted } = await converge(lab);
  return { objects, created: [...pods.created, ...created], deleted: [...pods.deleted, ...deleted] };
}

/**
 * Deletes the objects in the manifests; a Namespace with everything in it. Objects that do not exist are not
 * an error.
 */
export async function unapply(lab: Lab, manifests: readonly Manifest[]): Promise<ApplyReport> {
  const outcomes = new Map<Manifest, Outcome>();
  const gone: PodRecord[] = [];
  const removePods = async (pods: readonly PodRecord[]): Promise<void> => {
    for (const pod of pods) {
      await deletePod(lab, pod);
      gone.push(pod);
    }
  };
  for (const manifest of manifests) {
    if (manifest.kind === 'Policy') continue;
    const present = exists(lab, manifest);
    if (manifest.kind === 'Namespace') {
      const inside = readWorkloads(lab).filter(({ namespace }) => namespace === manifest.name);
      for (const workload of inside) removeWorkload(lab, workload);
      await removePods(readPods(lab).filter(({ namespace }) => namespace === manifest.name));
      removeNamespace(lab, manifest.name);
    } else if (manifest.kind === 'Pod') {
      const pod = readPod(lab, manifest.namespace, manifest.name);
      await removePods(pod ? [pod] : []);
    } else {
      removeWorkload(lab, manifest);
    }
    outcomes.set(manifest, present ? 'deleted' : 'absent');
  }
  const { created, deleted } = await converge(lab);
  // Last: so the pods are protected to their end.
  const policies = await removePolicies(lab, manifests);
  const objects = manifests.map((manifest) => ({
    object: objectName(manifest),
    outcome:
      manifest.kind === 'Policy'
        ? outcomeOf(manifest, policies)
        : (outcomes.get(manifest) ?? ('absent' as const)),
  }));
  return { objects, created, deleted: [...gone, ...deleted] };
}

/** The name of an object, as kubectl writes it. */
function objectName(manifest: Manifest): string {
  if (manifest.kind === 'Policy') {
    const { kind, metadata } = manifest.placed.document;
    const { namespace = 'default', name } = metadata;
    return [kind.toLowerCase(), ...(namespace === 'default' ? [] : [namespace]), name].join('/');
  }
  const group = manifest.kind === 'Deployment' || manifest.kind === 'DaemonSet' ? '.apps' : '';
  const kind = `${manifest.kind.toLowerCase()}${group}`;
  if (manifest.kind === 'Namespace' || manifest.namespace === 'default') return `${kind}/${manifest.name}`;
  return `${kind}/${manifest.namespace}/${manifest.name}`;
}

function outcomeOf({ placed }: PolicyManifest, outcomes: ReadonlyMap<string, Outcome>): Outcome {
  return outcomes.get(policyText(idOf(placed.document))) ?? 'absent';
}

function record(lab: Lab, manifest: Exclude<Manifest, PodManifest | PolicyManifest>): Outcome {
  const isNamespace = manifest.kind === 'Namespace';
  const before: Manifest | undefined = isNamespace
    ? Object.entries(readNamespaces(lab)).find(([name]) => name === manifest.name)?.[1]
    : readWorkloads(lab).find((each) => keyOf(each) === keyOf(manifest));
  if (isDeepStrictEqual(before, JSON.parse(JSON.stringify(manifest)))) return 'unchanged';
  if (isNamespace) saveNamespace(lab, manifest);
  else saveWorkload(lab, manifest);
  return before ? 'configured' : 'created';
}

async function applyPod(
  lab: Lab,
  { namespace, name, template, hash }: PodManifest,
  pods: { created: PodRecord[]; deleted: PodRecord[] },
): Promise<Outcome> {
  const before = readPod(lab, namespace, name);
  if (before?.template === hash && podStatus(lab, before).phase === 'Running') return 'unchanged';
  if (before) {
    await deletePod(lab, before);
    pods.deleted.push(before);
  }
  pods.created.push(await createPodAnywhere(lab, { ...template, namespace, name, template: hash }));
  return before ? 'configured' : 'created';
}

/** Throws errors that would stop `apply` halfway, before it begins. */
function checkFeasible(lab: Lab, manifests: readonly Manifest[]): void {
  const workloads = new Map(readWorkloads(lab).map((each) => [keyOf(each), each]));
  for (const manifest of manifests) {
    if (manifest.kind === 'Pod') {
      refuseForeign(lab, manifest);
      schedule(manifest.template, schedulable(lab), []);
    } else if (manifest.kind !== 'Namespace' && manifest.kind !== 'Policy')
      workloads.set(keyOf(manifest), manifest);
  }
  const [pending] = plan(lab, [...workloads.values()]).pending;
  if (pending) throw pending;
}

function refuseForeign(lab: Lab, manifest: PodManifest): void {
  const before = readPod(lab, manifest.namespace, manifest.name);
  if (!before || (before.template !== undefined && before.owner === undefined)) return;
  throw new FlatnetError(
    before.owner
      ? `the pod of this name belongs to ${before.owner}`
      : 'the pod of this name was not created by apply',
    { code: 'NAME_TAKEN', object: fullName(manifest), fix: 'choose another name, or delete it first' },
  );
}

function exists(lab: Lab, manifest: Exclude<Manifest, PolicyManifest>): boolean {
  switch (manifest.kind) {
    case 'Pod':
      return readPod(lab, manifest.namespace, manifest.name) !== undefined;
    case 'Namespace':
      return (
        manifest.name in readNamespaces(lab) ||
        readPods(lab).some((pod) => pod.namespace === manifest.name) ||
        readWorkloads(lab).some((each) => each.namespace === manifest.name)
      );
    default:
      return readWorkloads(lab).some((each) => keyOf(each) === keyOf(manifest));
  }
}
