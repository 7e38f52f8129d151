import type { Ip } from '../../ip/address.ts';
import { type Entity, entityText, type PodEntity } from '../model/entity.ts';
import { type Evaluation, evaluate, isPeer, type RuleOf } from '../model/evaluate.ts';
import { type Known, knownAs } from '../model/matcher.ts';
import { type Direction, type Policy, policyText, type Rule, type Tier } from '../model/policy.ts';
import { enforced } from '../model/staged.ts';
import type { Flow } from '../model/traffic.ts';
import { becauseOf } from './because.ts';
import { change } from './change.ts';

/** One end of a connection. `name`: a domain name for the address, besides those that are known. */
export type End = { readonly ip: Ip; readonly pod?: PodEntity; readonly name?: string };

/** A cluster, as far as policies know it. */
export type Cluster = {
  /** In order. */
  readonly tiers: readonly Tier[];
  readonly entities: readonly Entity[];
  readonly names: ReadonlyMap<Ip, readonly string[]>;
};

/** Why a connection is allowed or denied. */
export type Explanation = {
  readonly verdict: 'allowed' | 'denied';
  /** Egress at the source and ingress at the destination, where these are pods. */
  readonly ends: readonly EndExplanation[];
  /** Why no policy matters. */
  readonly exempt?: string;
};

export type EndExplanation = {
  readonly direction: Direction;
  /** `default/web`. */
  readonly pod: string;
  readonly verdict: 'allowed' | 'denied';
  /** In a few words, with the policy. */
  readonly because: string;
  /** The rule that decided it, and what of it holds. */
  readonly rule?: { readonly policy: string; readonly name: string; readonly holds: readonly string[] };
  /** Rules before it that match and pass. */
  readonly passed: readonly string[];
  /** The least change that would allow it. */
  readonly fix?: string;
  /** What would be instead, or why, if the staged policies were enforced; absent: the same. */
  readonly staged?: Outcome;
};

type Outcome = Pick<EndExplanation, 'verdict' | 'because'>;

/** Explains what becomes of a new connection. Of its packets, only the first is judged. */
export function explain(cluster: Cluster, source: End, destination: End, flow: Flow): Explanation {
  if (source.ip === destination.ip)
    return { verdict: 'allowed', ends: [], exempt: 'nothing keeps a pod from itself' };
  if (isOwnNode(cluster, destination, source))
    return { verdict: 'allowed', ends: [], exempt: 'nothing keeps a node from its own pods' };
  const at = (direction: Direction, own: End, other: End): EndExplanation[] =>
    own.pod ? [explainEnd(cluster, direction, { ...own, pod: own.pod }, other, flow)] : [];
  const ends = [...at('egress', source, destination), ...at('ingress', destination, source)];
  if (isOwnNode(cluster, source, destination) && !ends.some(isDeniedByRule))
    return { verdict: 'allowed', ends: [], exempt: 'nothing isolates a pod from its own node' };
  const isDenied = ends.some(({ verdict }) => verdict === 'denied');
  return { verdict: isDenied ? 'denied' : 'allowed', ends };
}

function isDeniedByRule({ verdict, rule }: EndExplanation): boolean {
  return verdict === 'denied' && rule !== undefined;
}

/** Whether the other end is the node that the pod runs on. */
function isOwnNode({ entities }: Cluster, { pod }: End, { ip }: End): boolean {
  return entities.some(
    (entity) => entity.kind === 'node' && entity.name === pod?.node && entity.addresses.includes(ip),
  );
}

function explainEnd(
  { tiers, entities, names }: Cluster,
  direction: Direction,
  own: End & { readonly pod: PodEntity },
  other: End,
  flow: Flow,
): EndExplanation {
  const known = ({ ip, name }: End): Known =>
    knownAs(ip, entities, [...(names.get(ip) ?? []), ...(name === undefined ? [] : [name])]);
  const connection = { pod: own.pod, own: known(own), peer: known(other), flow };
  const evaluation = evaluate(tiers, direction, connection);
  const { verdict, reason, passed } = evaluation;
  const outcome = outcomeOf(evaluation, direction);
  const staged = outcomeOf(evaluate(enforced(tiers), direction, connection), direction);
  return {
    direction,
    pod: `${own.pod.namespace}/${own.pod.name}`,
    ...outcome,
    ...(reason.kind === 'rule' && {
      rule: {
        policy: policyText(reason.policy),
        name: reason.rule.name,
        holds: holding(reason.rule, reason.policy, connection.peer),
      },
    }),
    passed: passed.map(ruleText),
    ...(verdict === 'deny' && { fix: change(reason, direction, own.pod, connection.peer, flow) }),
    ...((staged.verdict !== outcome.verdict || staged.because !== outcome.because) && { staged }),
  };
}

function outcomeOf({ verdict, reason }: Evaluation, direction: Direction): Outcome {
  return {
    verdict: verdict === 'allow' ? 'allowed' : 'denied',
    because: becauseOf(reason, direction),
  };
}

function ruleText({ policy, rule }: RuleOf): string {
  return `${policyText(policy)} ${rule.name}`;
}

/** What of a rule holds: its subject, and the conditions of a peer that the other end is. */
function holding({ peers }: Rule, { subject }: Policy, known: Known): readonly string[] {
  const all = [...known.entities.map(entityText), ...known.names];
  const who = all.length > 0 ? all.join(', ') : known.ip;
  const met = peers?.find((peer) => isPeer(peer, known));
  const conditions = [
    ...(met?.are ?? []).map(({ text }) => text),
    ...(met?.areNot ?? []).map(({ text }) => `not ${text}`),
  ];
  return [
    `it is about ${subject.text}`,
    ...(peers ? conditions.map((text) => `${text}: ${who}`) : ['its peers: whoever']),
  ];
}
