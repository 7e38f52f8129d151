import { type Fixed, objects, refuseOthers, text } from '../../cluster/calico/spec.ts';
import type { Fields } from '../../cluster/fields.ts';
import { excerpt } from '../../problem.ts';
import { DEFAULT_TIER } from '../kubernetes/network-policy.ts';
import { attempt, type PolicyObject } from '../model/object.ts';
import { DIRECTIONS, type Direction, type Policy, type PolicyId, type Rule } from '../model/policy.ts';
import {
  type Condition,
  endpointMatcher,
  inNamespace,
  labelCondition,
  namespaceCondition,
  serviceAccountCondition,
} from './endpoints.ts';
import { readOrder } from './order.ts';
import { readRule } from './rule.ts';
import { closedStaged, readStaged } from './staged.ts';

/** Calico's NetworkPolicy, by a name of its own beside that of Kubernetes. */
export const CALICO_NETWORK_POLICY = 'Calico NetworkPolicy';

/** Calico's own kinds of policies, and what they are without being staged. */
export const CALICO_POLICIES = {
  [CALICO_NETWORK_POLICY]: { isNamespaced: true },
  GlobalNetworkPolicy: { isNamespaced: false },
  StagedNetworkPolicy: { isNamespaced: true, staged: CALICO_NETWORK_POLICY },
  StagedGlobalNetworkPolicy: { isNamespaced: false, staged: 'GlobalNetworkPolicy' },
} as const satisfies Record<string, { readonly isNamespaced: boolean; readonly staged?: string }>;

export type CalicoPolicyKind = keyof typeof CALICO_POLICIES;

const KNOWN = [
  'tier',
  'order',
  'selector',
  'serviceAccountSelector',
  'types',
  ...DIRECTIONS,
  'performanceHints',
];
const forHosts: Fixed = { only: [false], why: 'it is for host endpoints, and policies here are about pods' };
const FOR_HOSTS = { doNotTrack: forHosts, preDNAT: forHosts, applyOnForward: forHosts };
const TYPES = { Ingress: 'ingress', Egress: 'egress' } as const satisfies Record<string, Direction>;

/**
 * Reads one of Calico's policies, with its defaults; without an order, it comes last. Throws CONFIG_INVALID
 * naming the field: what flatnet lacks is refused.
 */
export function readCalicoPolicy(
  kind: CalicoPolicyKind,
  object: PolicyObject,
): { readonly tier: string; readonly policy: Policy } {
  const { name, spec } = object;
  const { isNamespaced } = CALICO_POLICIES[kind];
  const namespace = isNamespaced ? object.namespace : undefined;
  const replaces = replacedBy(kind, object);
  const staged = replaces && readStaged(spec, replaces);
  const known = [...KNOWN, ...(staged ? ['stagedAction'] : [])];
  if (isNamespaced) refuseOthers(spec, known);
  else refuseOthers(spec, [...known, 'namespaceSelector'], FOR_HOSTS);
  const rules = {
    ingress: readRules(spec, 'ingress', namespace),
    egress: readRules(spec, 'egress', namespace),
  };
  const types = readTypes(spec) ?? defaultTypes(rules);
  return {
    tier: tierOf(spec),
    policy: {
      kind,
      ...(namespace !== undefined && { namespace }),
      name,
      order: readOrder(spec) ?? Number.POSITIVE_INFINITY,
      subject: endpointMatcher(readSubject(spec, namespace)),
      ...(types.includes('ingress') && { ingress: rules.ingress }),
      ...(types.includes('egress') && { egress: rules.egress }),
      ...(staged && { staged }),
    },
  };
}

/**
 * What is in force of a policy that cannot be read: it denies its pods everything, as far as these are known,
 * and else all that it can be about. If its order is not known, it is the first of its tier.
 */
export function closedCalicoPolicy(
  kind: CalicoPolicyKind,
  object: PolicyObject,
): ReturnType<typeof readCalicoPolicy> {
  const { name, spec } = object;
  const namespace = CALICO_POLICIES[kind].isNamespaced ? object.namespace : undefined;
  const everyone = namespace === undefined ? [] : [inNamespace(namespace)];
  const rules: readonly Rule[] = [{ name: 'unreadable', action: 'deny' }];
  const order = attempt(() => readOrder(spec) ?? Number.POSITIVE_INFINITY) ?? Number.NEGATIVE_INFINITY;
  const replaces = replacedBy(kind, object);
  return {
    tier: attempt(() => tierOf(spec)) ?? '',
    policy: {
      kind,
      ...(namespace !== undefined && { namespace }),
      name,
      order,
      subject: endpointMatcher(attempt(() => readSubject(spec, namespace)) ?? everyone),
      ingress: rules,
      egress: rules,
      ...(replaces && { staged: closedStaged(spec, replaces) }),
    },
  };
}

/** Undefined: it is not staged. */
function replacedBy(kind: CalicoPolicyKind, { namespace, name }: PolicyObject): PolicyId | undefined {
  const of = CALICO_POLICIES[kind];
  if (!('staged' in of)) return undefined;
  return { kind: of.staged, ...(of.isNamespaced && { namespace }), name };
}

function tierOf(spec: Fields): string {
  return text(spec, 'tier') ?? DEFAULT_TIER.name;
}

function readSubject(spec: Fields, namespace: string | undefined): readonly Condition[] {
  const conditions = [
    namespace === undefined ? namespaceCondition(spec) : inNamespace(namespace),
    labelCondition(spec, 'selector'),
    serviceAccountCondition(spec, 'serviceAccountSelector'),
  ];
  return conditions.filter((each) => each !== undefined);
}

function readRules(spec: Fields, direction: Direction, namespace: string | undefined): readonly Rule[] {
  return objects(spec, direction).map((fields, index) => readRule(fields, { direction, index, namespace }));
}

/** Undefined: the default, which depends on the rules. */
function readTypes(spec: Fields): readonly Direction[] | undefined {
  const types = spec.parsedList('types', (written) => {
    const found = Object.entries(TYPES).find(([type]) => type === written);
    if (!found) throw new TypeError(`must be Ingress or Egress, not '${excerpt(written, 60)}'`);
    return found[1];
  });
  return types && types.length > 0 ? types : undefined;
}

function defaultTypes({ ingress, egress }: Record<Direction, readonly Rule[]>): readonly Direction[] {
  if (egress.length === 0) return ['ingress'];
  return ingress.length === 0 ? ['egress'] : DIRECTIONS;
}
