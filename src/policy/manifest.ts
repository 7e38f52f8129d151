import type { Item } from '../cluster/documents.ts';
import { Fields } from '../cluster/fields.ts';
import type { Labels } from '../cluster/selector.ts';
import { nthIp, parseCidr } from '../ip/cidr.ts';
import { readNetworkSet } from './calico/network-set.ts';
import { type Collected, collectPolicies, TIER, type Written } from './collect.ts';
import { CALICO_VERSIONS, KINDS, kindNamed } from './kinds.ts';
import { labelsOf, namespaceLabels, nodeEntity, podEntity } from './kubernetes/pod.ts';
import type { Entity } from './model/entity.ts';
import { Holders } from './model/holders.ts';

/** For pods that have no address yet: those of RFC 2544, which no cluster has. */
const SPARE = parseCidr('198.18.0.0/15');

const OTHERS_OF_KUBERNETES: readonly string[] = ['Namespace', 'ServiceAccount', 'Pod', 'Node'];
const OTHERS_OF_CALICO: readonly string[] = [TIER, 'NetworkSet', 'GlobalNetworkSet', 'HostEndpoint'];

/** A cluster as its manifests describe it. */
export type Described = Collected & { readonly entities: readonly Entity[] };

/** An object that matters to policies. */
type Known = {
  /** As policies have it: Calico's NetworkPolicy is `Calico NetworkPolicy`. */
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
  readonly source: Fields['source'];
  /** How errors name it. */
  readonly where: string;
};

/**
 * Reads pods, namespaces, service accounts, nodes, network sets and policies, and passes over other objects.
 * A pod without an address gets one. Throws CONFIG_INVALID for an object without a kind or a name, for a
 * network set that cannot be read, and for host endpoints, which policies here cannot be about.
 */
export function readCluster(items: readonly Item[]): Described {
  const objects = items.flatMap((item) => knownOf(item) ?? []);
  const labels = new Map(objects.map((each) => [keyOf(each), labelsOf(each.source)]));
  const inherited = {
    ofNamespace: (name: string): Labels =>
      namespaceLabels(name, labels.get(keyOf({ kind: 'Namespace', name, namespace: '' }))),
    ofServiceAccount: (namespace: string, name: string): Labels =>
      labels.get(keyOf({ kind: 'ServiceAccount', name, namespace })) ?? {},
  };
  const pods = objects
    .filter(({ kind }) => kind === 'Pod')
    .map(({ source }, i) => podEntity(withAddress(source, i + 1), inherited));
  const others = objects.map((object) => entityOf(object, inherited.ofNamespace));
  return {
    ...collectPolicies(objects.map(writtenOf)),
    entities: [...others.filter(isThere), ...new Holders().settle(pods.filter(isThere))],
  };
}

function isThere<T>(value: T | undefined): value is T {
  return value !== undefined;
}

function knownOf({ value, where }: Item): Known | undefined {
  const fields = new Fields(value, `${where}object`);
  const kind = kindOf(fields);
  if (!kind) return undefined;
  const metadata = fields.object('metadata');
  const name = metadata?.string('name');
  if (!name) throw fields.invalid('metadata.name', 'is missing');
  if (kind === 'HostEndpoint')
    throw fields.invalid('kind', `${kind} is not supported: policies are about pods alone; leave it out`);
  return { kind, name, namespace: metadata?.string('namespace') ?? 'default', source: fields.source, where };
}

/** Undefined: of no matter here. The group decides, as Calico names some kinds as Kubernetes does. */
function kindOf(fields: Fields): string | undefined {
  const written = fields.string('kind');
  if (!written) throw fields.invalid('kind', 'is missing');
  const version = fields.string('apiVersion');
  if (version !== undefined && CALICO_VERSIONS.includes(version))
    return kindNamed(written, version) ?? OTHERS_OF_CALICO.find((kind) => kind === written);
  const isCalicos = KINDS.get(written)?.versions === CALICO_VERSIONS || OTHERS_OF_CALICO.includes(written);
  if (version === undefined && isCalicos)
    throw fields.invalid('apiVersion', `of ${written} is missing; write ${CALICO_VERSIONS[0]}`);
  return !isCalicos && (KINDS.has(written) || OTHERS_OF_KUBERNETES.includes(written)) ? written : undefined;
}

function keyOf({ kind, name, namespace }: Pick<Known, 'kind' | 'name' | 'namespace'>): string {
  return kind === 'ServiceAccount' ? `${kind} ${namespace}/${name}` : `${kind} ${name}`;
}

function writtenOf({ kind, namespace, name, source }: Known): Written {
  return { kind, namespace, name, spec: source.spec };
}

/** A node or a network set. Pods come after these. */
function entityOf(
  { kind, name, namespace, source, where }: Known,
  ofNamespace: (name: string) => Labels,
): Entity | undefined {
  if (kind === 'Node') return nodeEntity(source);
  if (kind !== 'NetworkSet' && kind !== 'GlobalNetworkSet') return undefined;
  const own = kind === 'NetworkSet' ? namespace : undefined;
  const spec = new Fields(source.spec ?? {}, `${where}${kind} ${name} spec`);
  const inherited = own === undefined ? {} : ofNamespace(own);
  return readNetworkSet({ namespace: own, name, labels: labelsOf(source), namespaceLabels: inherited }, spec);
}

function withAddress(
  pod: { readonly [key: string]: unknown },
  number: number,
): { readonly [key: string]: unknown } {
  const { status } = pod as { status?: { podIP?: unknown; podIPs?: unknown } | null };
  if (status?.podIP ?? status?.podIPs) return pod;
  return { ...pod, status: { ...status, podIP: nthIp(SPARE, number) } };
}
