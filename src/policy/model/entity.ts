import type { Labels } from '../../cluster/selector.ts';
import type { Ip } from '../../ip/address.ts';
import type { Cidr } from '../../ip/cidr.ts';

/** What has addresses and is told by its labels. */
export type Entity = PodEntity | NodeEntity | NetworkSetEntity;

/** A pod on the pod network that has not ended. Pods on their node's own network are not entities. */
export type PodEntity = {
  readonly kind: 'pod';
  readonly namespace: string;
  readonly name: string;
  /** A pod's successor may have its name. */
  readonly uid?: string;
  readonly labels: Labels;
  readonly namespaceLabels: Labels;
  /** Its namespace is not known yet, and so not which policies are about it. */
  readonly lacksNamespace?: true;
  readonly serviceAccount: string;
  readonly serviceAccountLabels: Labels;
  /** Nothing is known of its service account yet, and so not which policies are about it. */
  readonly lacksAccount?: true;
  readonly ports: readonly NamedPort[];
  readonly addresses: readonly Ip[];
  /** The name of its node, once it has one. */
  readonly node?: string;
  /**
   * When its node began with it, or else it was created: times in UTC, in ISO 8601, or a store's revisions,
   * which sort as text.
   */
  readonly since?: string;
  /** It is being deleted, and may still run. */
  readonly isEnding?: true;
};

/** A pod without what it inherits. */
export type OwnPod = Omit<
  PodEntity,
  'namespaceLabels' | 'lacksNamespace' | 'serviceAccountLabels' | 'lacksAccount'
>;

export type NodeEntity = {
  readonly kind: 'node';
  readonly name: string;
  readonly labels: Labels;
  readonly addresses: readonly Ip[];
};

/** Calico's NetworkSet, or GlobalNetworkSet without a namespace: networks that selectors find by labels. */
export type NetworkSetEntity = {
  readonly kind: 'network-set';
  readonly namespace: string | undefined;
  readonly name: string;
  readonly labels: Labels;
  readonly namespaceLabels: Labels;
  readonly nets: readonly Cidr[];
};

/** A port of a pod's container that has a name. */
export type NamedPort = { readonly name: string; readonly protocol: number; readonly port: number };

/** `pod default/web`, `node n1`, `network set office`. */
export function entityText(entity: Entity): string {
  const kind = entity.kind === 'network-set' ? 'network set' : entity.kind;
  const namespace = 'namespace' in entity && entity.namespace;
  return `${kind} ${namespace ? `${namespace}/` : ''}${entity.name}`;
}

/** The networks that an entity's addresses make up. */
export function addressesOf(entity: Entity): readonly (Ip | Cidr)[] {
  return entity.kind === 'network-set' ? entity.nets : entity.addresses;
}
