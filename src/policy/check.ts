import { Fields } from '../cluster/fields.ts';
import { FlatnetError } from '../error.ts';
import { readNetworkSet } from './calico/network-set.ts';
import { collectPolicies, TIER, type Written } from './collect.ts';
import { idOf, type PolicyDocument } from './document.ts';
import { policyText } from './model/policy.ts';
import { untold } from './untold.ts';

/** A document, and what errors begin with: `policies.yaml document 2: `. */
export type Placed = { readonly document: PolicyDocument; readonly where: string };

/**
 * Throws CONFIG_INVALID for the first object that nodes could not read, that asks for what they cannot tell
 * of their pods, or of which there are two. `stored`: the Tiers that are there already.
 */
export function checkDocuments(placed: readonly Placed[], stored: readonly PolicyDocument[]): void {
  const places = new Map<string, string>();
  for (const { document, where } of placed) {
    const title = policyText(idOf(document));
    if (places.has(title)) throw invalid(`${where}${title}`, 'is there twice');
    places.set(title, where);
    checkSet(document, `${where}${title} spec`);
    const unknown = untold(document.spec);
    if (unknown !== undefined) throw invalid(`${where}${title}`, unknown);
  }
  const all = [...stored.filter(({ kind }) => kind === TIER), ...placed.map(({ document }) => document)];
  for (const { policy, problem } of collectPolicies(all.map(writtenIn)).problems) {
    const title = policyText(policy);
    const where = places.get(title);
    if (where !== undefined) throw invalid(`${where}${title}`, problem);
  }
}

/** A policy or a Tier as `collectPolicies` takes it; it passes over other kinds. */
export function writtenIn(document: PolicyDocument): Written {
  return { ...idOf(document), spec: document.spec };
}

function checkSet({ kind, spec, metadata: { namespace, name } }: PolicyDocument, path: string): void {
  if (kind !== 'NetworkSet' && kind !== 'GlobalNetworkSet') return;
  readNetworkSet({ namespace, name, labels: {}, namespaceLabels: {} }, new Fields(spec, path));
}

function invalid(object: string, text: string): FlatnetError {
  return new FlatnetError(text, { code: 'CONFIG_INVALID', object });
}
