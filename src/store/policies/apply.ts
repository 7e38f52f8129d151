import { FlatnetError } from '../../error.ts';
import { checkDocuments, type Placed } from '../../policy/check.ts';
import { idOf, inWritingOrder, type PolicyDocument, type PolicyObjectId } from '../../policy/document.ts';
import { policyText } from '../../policy/model/policy.ts';
import type { PolicyObjects } from '../ports/policies.ts';
import type { ApplyOutcome } from '../ports/resources.ts';

/** One step, and the object that it is about. */
export type Step<T> = { readonly title: string; readonly run: () => Promise<T> };

/**
 * Checks all documents against each other and what is there; returns the steps that write them, in an order
 * in which no policy lacks what it needs. Throws CONFIG_INVALID naming file and field.
 */
export async function applySteps(
  objects: PolicyObjects,
  placed: readonly Placed[],
): Promise<readonly Step<ApplyOutcome>[]> {
  checkDocuments(placed, await objects.list(() => {}));
  return inWritingOrder(placed.map(({ document }) => document)).map((document) => ({
    title: policyText(idOf(document)),
    run: () => objects.apply(document),
  }));
}

/** The steps that delete objects. Throws IN_USE for a Tier that policies which stay are in. */
export async function deleteSteps(
  objects: PolicyObjects,
  documents: readonly PolicyDocument[],
): Promise<readonly Step<'deleted' | 'absent'>[]> {
  const ids = inWritingOrder(documents).map(idOf).reverse();
  refuseUsedTiers(ids, await objects.list(() => {}));
  return ids.map((id) => ({
    title: policyText(id),
    run: async () => ((await objects.delete(id)) ? 'deleted' : 'absent'),
  }));
}

function refuseUsedTiers(ids: readonly PolicyObjectId[], stored: readonly PolicyDocument[]): void {
  const going = new Set(ids.map(policyText));
  const staying = stored.filter((document) => !going.has(policyText(idOf(document))));
  for (const { kind, name } of ids) {
    const user = kind === 'Tier' && staying.find(({ spec }) => spec.tier === name);
    if (!user) continue;
    throw new FlatnetError(`${policyText(idOf(user))} is in it, and would close its pods`, {
      code: 'IN_USE',
      object: `Tier ${name}`,
      fix: 'delete its policies first',
    });
  }
}
