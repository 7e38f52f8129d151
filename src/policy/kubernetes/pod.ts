import type { Labels } from '../../cluster/selector.ts';
import { type Ip, isIp, parseIp } from '../../ip/address.ts';
import type { NamedPort, NodeEntity, PodEntity } from '../model/entity.ts';
import { protocolNamed, TCP } from '../model/traffic.ts';

/** The label that the API server gives each namespace. */
const NAME_LABEL = 'kubernetes.io/metadata.name';

/** An object of the Kubernetes API. Whatever is not as it should be counts as absent. */
type Loose = { readonly [key: string]: unknown };

/** The labels of what pods belong to. */
export type Inherited = {
  readonly ofNamespace: (name: string) => Labels;
  readonly ofServiceAccount: (namespace: string, name: string) => Labels;
};

/** A namespace's labels, as selectors see them. */
export function namespaceLabels(name: string, labels: Labels = {}): Labels {
  return { ...labels, [NAME_LABEL]: name };
}

/**
 * A Pod object as policies know it. Undefined for one on its node's own network, or that has ended: its
 * address may already be another pod's.
 */
export function podEntity(object: Loose, inherited: Inherited): PodEntity | undefined {
  const [metadata, spec, status] = [loose(object.metadata), loose(object.spec), loose(object.status)];
  const { name, namespace = 'default' } = metadata;
  if (typeof name !== 'string' || typeof namespace !== 'string') return undefined;
  if (spec.hostNetwork === true || status.phase === 'Succeeded' || status.phase === 'Failed')
    return undefined;
  const addresses = addressesOf(status);
  const account = typeof spec.serviceAccountName === 'string' ? spec.serviceAccountName : 'default';
  return {
    kind: 'pod',
    namespace,
    name,
    ...uidOf(metadata),
    labels: labelsOf(object),
    namespaceLabels: inherited.ofNamespace(namespace),
    serviceAccount: account,
    serviceAccountLabels: inherited.ofServiceAccount(namespace, account),
    ports: portsOf(spec),
    ...(typeof spec.nodeName === 'string' && { node: spec.nodeName }),
    ...sinceOf(status.startTime ?? metadata.creationTimestamp),
    ...(typeof metadata.deletionTimestamp === 'string' && { isEnding: true }),
    addresses,
  };
}

export function nodeEntity(object: Loose): NodeEntity | undefined {
  const [metadata, status] = [loose(object.metadata), loose(object.status)];
  if (typeof metadata.name !== 'string') return undefined;
  const addresses = list(status.addresses).flatMap(({ address }) => ipOf(address));
  return { kind: 'node', name: metadata.name, labels: labelsOf(object), addresses };
}

/** As the runtime knows it: a static pod's is its kubelet's, which its mirror in the API only notes. */
function uidOf({ uid, annotations }: Loose): { readonly uid?: string } {
  const own = loose(annotations)['kubernetes.io/config.hash'] ?? uid;
  return typeof own === 'string' ? { uid: own } : {};
}

function sinceOf(time: unknown): { readonly since?: string } {
  return typeof time === 'string' ? { since: time } : {};
}

function addressesOf({ podIP, podIPs }: Loose): readonly Ip[] {
  return [...new Set([podIP, ...list(podIPs).map(({ ip }) => ip)].flatMap(ipOf))];
}

function ipOf(value: unknown): Ip[] {
  return typeof value === 'string' && isIp(value) ? [parseIp(value)] : [];
}

/** Those of the containers that stay: of init containers, the ones that are restarted always. */
function portsOf({ containers, initContainers }: Loose): readonly NamedPort[] {
  const lasting = list(initContainers).filter(({ restartPolicy }) => restartPolicy === 'Always');
  return [...list(containers), ...lasting].flatMap(({ ports }) =>
    list(ports).flatMap(({ name, containerPort, protocol }) => {
      if (typeof name !== 'string' || typeof containerPort !== 'number') return [];
      const number = typeof protocol === 'string' ? protocolNamed(protocol) : TCP;
      return number === undefined ? [] : [{ name, protocol: number, port: containerPort }];
    }),
  );
}

/** An object's labels. */
export function labelsOf({ metadata }: Loose): Labels {
  const entries = Object.entries(loose(loose(metadata).labels));
  return Object.fromEntries(
    entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

function list(value: unknown): readonly Loose[] {
  return Array.isArray(value) ? value.map(loose) : [];
}

function loose(value: unknown): Loose {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Loose) : {};
}
