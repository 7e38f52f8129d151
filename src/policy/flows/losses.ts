import { FAMILIES, type Family, familyOf, type Ip } from '../../ip/address.ts';
import type { PodClass } from '../compile/pod-class.ts';
import type { Verdicts } from '../compile/verdicts.ts';
import { DIRECTIONS, type Direction } from '../model/policy.ts';
import { takesAway } from './takes-away.ts';
import { NOBODY, type Transition, transitionsOf } from './transitions.ts';

type Both = Readonly<Record<Direction, Verdicts>>;

/**
 * What a change takes away: every connection that was allowed and is denied now has an end among these
 * addresses, and none is there without such a connection. `before`: absent where all was allowed, or nobody
 * knows.
 */
export function losses(before: Both | undefined, after: Both | undefined): ReadonlySet<Ip> {
  const lost = new Set<Ip>();
  if (!after) return lost;
  for (const direction of DIRECTIONS)
    for (const family of FAMILIES)
      for (const ip of lossesOf(before?.[direction] ?? ALL_ALLOWED, after[direction], family)) lost.add(ip);
  return lost;
}

const ALL_ALLOWED: Verdicts = { identified: NOBODY, pods: new Map() };

function* lossesOf(before: Verdicts, after: Verdicts, family: Family): Generator<Ip> {
  const pods = [...after.pods.keys()].filter((ip) => familyOf(ip) === family);
  if (pods.length === 0) return;
  const transitions = transitionsOf(before.identified, after.identified, family);
  for (const { was, is, pods: own } of alike(pods, before, after))
    for (const each of transitions)
      if (takesAway(was?.decisions(family, each.was), is.decisions(family, each.is))) yield* fewer(own, each);
}

/** The pods about whose connections the same was decided, and the same is now. */
type Alike = {
  readonly was: PodClass | undefined;
  readonly is: PodClass;
  readonly pods: Ip[];
};

function alike(pods: readonly Ip[], before: Verdicts, after: Verdicts): readonly Alike[] {
  const groups: Alike[] = [];
  for (const ip of pods) {
    const [was, is] = [before.pods.get(ip), after.pods.get(ip)];
    if (!is) continue;
    const group = groups.find((each) => each.was === was && each.is === is);
    if (group) group.pods.push(ip);
    else groups.push({ was, is, pods: [ip] });
  }
  return groups;
}

/** Those of one end, or of the other: whichever there are fewer of. */
function fewer(pods: readonly Ip[], { addresses }: Transition): readonly Ip[] {
  return addresses && addresses.length <= pods.length ? addresses : pods;
}
