import type { PodEntity } from './entity.ts';
import type { Matcher } from './matcher.ts';
import type { Traffic } from './traffic.ts';

/** As the pod sees it that a policy is about: what it may receive, what it may send. */
export type Direction = 'ingress' | 'egress';
export const DIRECTIONS: readonly Direction[] = ['ingress', 'egress'];

/**
 * `allow` and `deny` end a direction's evaluation, `pass` leaves the tier, `log` writes the connection down
 * and goes on.
 */
export type Action = 'allow' | 'deny' | 'pass' | 'log';

/** The other end of a connection: all conditions of `are` hold, and none of `areNot`. */
export type Peer = { readonly are: readonly Matcher[]; readonly areNot: readonly Matcher[] };

export type Rule = {
  /** `ingress[0]`, or the name that its author gave it: with the policy's own, its identity. */
  readonly name: string;
  readonly action: Action;
  /** Any of these. Absent: whoever. */
  readonly peers?: readonly Peer[];
  /** Conditions on the pod itself that are its addresses' rather than the subject's. Absent: none. */
  readonly own?: Peer;
  /** Any of these. Absent: everything. */
  readonly traffic?: readonly Traffic[];
};

export type PolicyId = {
  /** `NetworkPolicy`, `Calico NetworkPolicy`, `GlobalNetworkPolicy`, … */
  readonly kind: string;
  readonly namespace?: string;
  readonly name: string;
};

export type Policy = PolicyId & {
  /** Which pods it is about. */
  readonly subject: { readonly text: string; readonly selects: (pod: PodEntity) => boolean };
  /** In order. Absent: it leaves the direction alone. */
  readonly ingress?: readonly Rule[];
  readonly egress?: readonly Rule[];
  /** Of its tier, the lower first. Equal ones: by name, namespace and kind. */
  readonly order: number;
  /** What stands for the name among equal orders. */
  readonly sortName?: string;
  /** It decides nothing; reported is what it would do. */
  readonly staged?: Staged;
  /** It cannot be read, and only closes its pods. */
  readonly isUnreadable?: true;
};

/** What enforcing a staged policy would do: put it in the place of another, remove that one, or nothing. */
export type Staged = { readonly action: 'set' | 'delete' | 'ignore'; readonly replaces: PolicyId };

/** Policies evaluated together. */
export type Tier = {
  readonly name: string;
  /** The lower first; equal ones by name. */
  readonly order: number;
  /** What becomes of connections, of pods that its policies select, that none of their rules decides. */
  readonly otherwise: 'deny' | 'pass';
  readonly policies: readonly Policy[];
};

/** `NetworkPolicy default/web`. */
export function policyText({ kind, namespace, name }: PolicyId): string {
  return `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`;
}

/** A tier without its policies. */
export type TierSettings = Omit<Tier, 'policies'>;

/** Sorts tiers, and the policies in each, into the order of evaluation, which is always the same. */
export function inOrder(tiers: readonly Tier[]): readonly Tier[] {
  const byName = (a: Policy, b: Policy): number =>
    compare(a.sortName ?? a.name, b.sortName ?? b.name) ||
    compare(a.namespace ?? '', b.namespace ?? '') ||
    compare(a.kind, b.kind);
  return tiers
    .toSorted((a, b) => compare(a.order, b.order) || compare(a.name, b.name))
    .map((tier) => ({
      ...tier,
      policies: tier.policies.toSorted((a, b) => compare(a.order, b.order) || byName(a, b)),
    }));
}

function compare<T extends number | string>(a: T, b: T): number {
  return a === b ? 0 : a < b ? -1 : 1;
}
