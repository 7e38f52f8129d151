import type { Placed } from '../../policy/check.ts';
import { idOf, readPolicyDocument } from '../../policy/document.ts';
import { applySteps, deleteSteps } from '../../store/policies/apply.ts';
import type { PolicyObjects } from '../../store/ports/policies.ts';
import { withStore } from '../machine/store.ts';
import type { Lab } from '../record/lab.ts';
import type { Manifest, NamespaceManifest } from './manifest/read.ts';

/** Outcomes by object, as `titleOf` names it. */
type Outcomes = ReadonlyMap<string, 'created' | 'configured' | 'unchanged' | 'deleted' | 'absent'>;

/**
 * Writes policies to the lab's store, and namespaces, whose labels policies ask for. Throws CONFIG_INVALID
 * before anything is written.
 */
export async function applyPolicies(lab: Lab, manifests: readonly Manifest[]): Promise<Outcomes> {
  const placed = manifests.flatMap(placedOf);
  return inStore(lab, placed, (objects) => applySteps(objects, placed));
}

/** Deletes policies from the store, and namespaces with the policies in them. */
export async function removePolicies(lab: Lab, manifests: readonly Manifest[]): Promise<Outcomes> {
  const placed = manifests.flatMap(placedOf);
  return inStore(lab, placed, async (objects) => {
    const gone = new Set(manifests.flatMap(({ kind, name }) => (kind === 'Namespace' ? [name] : [])));
    const inside = (await objects.list(() => {})).filter(({ metadata }) =>
      gone.has(metadata.namespace ?? ''),
    );
    const all = [...placed.map(({ document }) => document), ...inside];
    return deleteSteps(objects, [...new Map(all.map((each) => [JSON.stringify(idOf(each)), each])).values()]);
  });
}

async function inStore<T extends string>(
  lab: Lab,
  placed: readonly Placed[],
  steps: (objects: PolicyObjects) => Promise<readonly { title: string; run: () => Promise<T> }[]>,
): Promise<ReadonlyMap<string, T>> {
  const outcomes = new Map<string, T>();
  if (placed.length === 0) return outcomes;
  await withStore(lab, async ({ policyObjects }) => {
    if (!policyObjects) return;
    for (const { title, run } of await steps(policyObjects)) outcomes.set(title, await run());
  });
  return outcomes;
}

function placedOf(manifest: Manifest): Placed[] {
  if (manifest.kind === 'Policy') return [manifest.placed];
  return manifest.kind === 'Namespace' ? [{ document: namespaceDocument(manifest), where: '' }] : [];
}

function namespaceDocument({ name, labels }: NamespaceManifest): Placed['document'] {
  const value = { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
  return readPolicyDocument({ value, where: '' });
}
