import { Fields } from '../cluster/fields.ts';
import { messageOf } from '../error.ts';
import { readTier } from './calico/tier.ts';
import { BUILT_IN_TIERS, KINDS, type Kind } from './kinds.ts';
import { excess } from './limits.ts';
import { type LostParts, mayOpen } from './lost-parts.ts';
import { entityText } from './model/entity.ts';
import { attempt, type PolicyObject } from './model/object.ts';
import {
  inOrder,
  type Policy,
  type PolicyId,
  policyText,
  type Tier,
  type TierSettings,
} from './model/policy.ts';

/** A policy, or a Tier, as written: which, and its `spec`. */
export type Written = PolicyId & {
  readonly spec: unknown;
  /** Why it does not count as it is, or nothing of it can be read. */
  readonly unreadable?: string;
};

export type Collected = {
  /** In order. */
  readonly tiers: readonly Tier[];
  readonly problems: readonly Problem[];
};

/** A policy, a Tier or a network set that cannot be read, and why. */
export type Problem = {
  readonly policy: PolicyId;
  readonly problem: string;
  /** Whether its pods are closed: staged policies decide nothing, and Tiers and sets have no pods. */
  readonly closes: boolean;
};

export const TIER = 'Tier';

/** Of closed policies whose own tier is not known: before all others, as theirs may be. */
const UNKNOWN_TIER: TierSettings = { name: 'unknown', order: Number.NEGATIVE_INFINITY, otherwise: 'deny' };

/**
 * Reads policies into tiers. One that cannot be read, or whose tier cannot, is reported and closes its pods;
 * the others are unharmed. Of several with one name the last counts, as if they had been applied in turn.
 * `lost`: network sets that are not known as a whole; policies that would let through more for that are
 * closed.
 */
export function collectPolicies(written: readonly Written[], lost: readonly LostParts[] = []): Collected {
  const all = [...new Map(written.map((each) => [policyText(each), each])).values()];
  const problems: Problem[] = [];
  const settings = readTiers(all, problems);
  const placed = all.flatMap((each) => {
    const known = KINDS.get(each.kind);
    return known
      ? [{ ...place(each, known, { settings, lost, problems }), of: { written: each, known } }]
      : [];
  });
  const excessive = new Map(
    [...Map.groupBy(placed, ({ policy }) => policy.namespace).values()].flatMap((own) => [
      ...excess(own.flatMap(({ policy }) => (policy.isUnreadable ? [] : [policy]))),
    ]),
  );
  const bearable = placed.map(({ tier, policy, of }) => {
    const problem = excessive.get(policy);
    return problem === undefined
      ? { tier, policy }
      : closed(of.written, of.known, problem, { settings, problems });
  });
  const tiers = [...Map.groupBy(bearable, ({ tier }) => tier)];
  return {
    tiers: inOrder(tiers.map(([tier, own]) => ({ ...tier, policies: own.map(({ policy }) => policy) }))),
    problems,
  };
}

/** Tiers by name; undefined for those that cannot be read. */
type Settings = ReadonlyMap<string, TierSettings | undefined>;

function readTiers(all: readonly Written[], problems: Problem[]): Settings {
  const tiers = new Map<string, TierSettings | undefined>();
  for (const { kind, name, spec, unreadable } of all) {
    if (kind !== TIER) continue;
    const builtIn = BUILT_IN_TIERS.find((tier) => tier.name === name);
    try {
      if (unreadable !== undefined) throw new TypeError(unreadable);
      tiers.set(name, readTier(name, new Fields(spec ?? {}, 'spec'), builtIn));
    } catch (error) {
      tiers.set(name, undefined);
      problems.push({ policy: { kind, name }, problem: messageOf(error), closes: false });
    }
  }
  for (const tier of BUILT_IN_TIERS) tiers.set(tier.name, tier);
  return tiers;
}

type InTier = { readonly tier: TierSettings; readonly policy: Policy };

function place(
  written: Written,
  known: Kind,
  { settings, lost, problems }: { settings: Settings; lost: readonly LostParts[]; problems: Problem[] },
): InTier {
  const object = (): PolicyObject => objectOf(written);
  try {
    if (written.unreadable !== undefined) throw new TypeError(written.unreadable);
    const { tier, policy } = known.read(object());
    const found = settings.get(tier);
    if (!found) {
      const text = settings.has(tier) ? 'cannot be read' : 'is not there; add it';
      throw object().spec.invalid('tier', `the Tier ${tier} ${text}`);
    }
    const needed = lost.find((set) => mayOpen(policy, set));
    if (!needed) return { tier: found, policy };
    throw new TypeError(`a rule needs ${entityText(needed.set)}, which cannot be read: ${needed.problem}`);
  } catch (error) {
    return closed(written, known, messageOf(error), { settings, problems });
  }
}

/** What is in force of a policy that does not count as it is, which is reported. */
function closed(
  written: Written,
  { isNamespaced, close }: Kind,
  problem: string,
  { settings, problems }: { settings: Settings; problems: Problem[] },
): InTier {
  const { kind, namespace = 'default', name } = written;
  const object = attempt(() => objectOf(written)) ?? { namespace, name, spec: new Fields({}) };
  const { tier, policy } = close(object);
  const id = { kind, ...(isNamespaced && { namespace }), name };
  problems.push({ policy: id, problem, closes: policy.staged === undefined });
  return { tier: settings.get(tier) ?? UNKNOWN_TIER, policy: { ...policy, isUnreadable: true } };
}

/** Fields remember what was read of them: each reader needs its own. */
function objectOf({ namespace = 'default', name, spec }: Written): PolicyObject {
  return { namespace, name, spec: new Fields(spec ?? {}, 'spec') };
}
