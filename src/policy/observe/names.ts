import { type Ip, ipCompare } from '../../ip/address.ts';
import type { PodEntity } from '../model/entity.ts';
import type { Tier } from '../model/policy.ts';
import { isWanted, wantedNames } from '../names/wanted.ts';

/** What a name stands for now. */
export type NameInForce = { readonly name: string; readonly addresses: readonly Ip[] };

/**
 * The names that rules about a pod mean, and that stand for something now. Undefined if no rule has names.
 * `names`: those of each address.
 */
export function namesInForce(
  tiers: readonly Tier[],
  pod: PodEntity,
  names: ReadonlyMap<Ip, readonly string[]>,
): readonly NameInForce[] | undefined {
  const { patterns } = wantedNames(tiers, [pod]);
  if (patterns.size === 0) return undefined;
  const found = new Map<string, Ip[]>();
  for (const [ip, all] of names) {
    for (const name of all) if (isWanted(name, patterns)) found.set(name, [...(found.get(name) ?? []), ip]);
  }
  return [...found]
    .map(([name, addresses]) => ({ name, addresses: addresses.toSorted(ipCompare) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}
