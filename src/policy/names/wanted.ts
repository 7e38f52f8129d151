import type { PodEntity } from '../model/entity.ts';
import type { Matcher } from '../model/matcher.ts';
import type { Policy, Tier } from '../model/policy.ts';

/** Which names matter here, and whose answers about them are watched. */
export type Wanted = {
  /** Whether any policy has names, also about pods of other nodes only. */
  readonly areAny: boolean;
  /** `example.org`, or `*.example.org`. */
  readonly patterns: ReadonlySet<string>;
  readonly askers: readonly PodEntity[];
};

/** The names in rules about any of these pods, and the pods that such rules are about. */
export function wantedNames(tiers: readonly Tier[], pods: readonly PodEntity[]): Wanted {
  const naming = tiers.flatMap(({ policies }) =>
    policies.filter((policy) => !policy.staged && namesIn(policy).length > 0),
  );
  const used = naming.filter(({ subject }) => pods.some((pod) => subject.selects(pod)));
  return {
    areAny: naming.length > 0,
    patterns: new Set(used.flatMap(namesIn)),
    askers: pods.filter((pod) => used.some(({ subject }) => subject.selects(pod))),
  };
}

/** Whether a name is meant by any of the patterns: by itself, or by one for what is below its parents. */
export function isWanted(name: string, patterns: ReadonlySet<string>): boolean {
  if (patterns.has(name)) return true;
  for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1))
    if (patterns.has(`*${name.slice(dot)}`)) return true;
  return false;
}

function namesIn({ egress = [] }: Policy): readonly string[] {
  return egress.flatMap(({ peers = [] }) =>
    peers.flatMap(({ are, areNot }) => [...are, ...areNot].flatMap(namesOf)),
  );
}

function namesOf(matcher: Matcher): readonly string[] {
  return matcher.kind === 'names' ? matcher.names : [];
}
