import { type LocalPod, podName } from '../../cluster/node.ts';
import { familyOf, type Ip } from '../../ip/address.ts';
import { linkLocalOf } from '../../ip/mac.ts';
import type { Subject } from '../compile/facts.ts';
import type { PodEntity } from '../model/entity.ts';
import { type Certain, Holders } from '../model/holders.ts';
import type { PolicyView } from '../model/view.ts';

/** This node's pods as policies know them. */
export type Subjects = {
  readonly subjects: ReadonlyMap<LocalPod, Subject>;
  /** Pods that the store does not know yet: nobody knows their labels, and nothing reaches them. */
  readonly waiting: readonly LocalPod[];
  /** The cluster's pods, each address once; this node's with the addresses that they have here. */
  readonly entities: readonly PodEntity[];
};

/** Whether a view tells which policies are about a pod: the pod itself, or that it is none of the store's. */
export function isKnown(pod: LocalPod, { pods }: Pick<PolicyView, 'pods'>): boolean {
  return podName(pod) === undefined || entityOf(pod, pods) !== undefined;
}

/** The pod as the store has it, as a whole; not one that had its name before, or has it now. */
function entityOf(pod: LocalPod, pods: PolicyView['pods']): PodEntity | undefined {
  const entity = pods.get(podName(pod) ?? '');
  if (entity?.lacksNamespace || entity?.lacksAccount) return undefined;
  const isOther = pod.uid !== undefined && entity?.uid !== undefined && pod.uid !== entity.uid;
  return isOther ? undefined : entity;
}

/** Finds this node's pods in a view. Equal ones stay the same objects. */
export class SubjectFinder {
  readonly #found = new WeakMap<
    LocalPod,
    { readonly entity: PodEntity | undefined; readonly subject: Subject }
  >();

  readonly #holders = new Holders();

  find(pods: readonly LocalPod[], { pods: known }: Pick<PolicyView, 'pods'>): Subjects {
    const subjects = new Map<LocalPod, Subject>();
    const waiting: LocalPod[] = [];
    const here = new Map<PodEntity, PodEntity>();
    for (const pod of pods) {
      if (!isKnown(pod, { pods: known })) {
        waiting.push(pod);
        continue;
      }
      const entity = entityOf(pod, known);
      const subject = this.#subject(pod, entity);
      subjects.set(pod, subject);
      if (entity) here.set(entity, joined(here.get(entity), subject.pod));
    }
    const entities = [...known.values()].map((entity) => here.get(entity) ?? entity);
    return { subjects, waiting, entities: this.#holders.settle(entities, addressesHere(pods, here)) };
  }

  #subject(pod: LocalPod, entity: PodEntity | undefined): Subject {
    const last = this.#found.get(pod);
    if (last && last.entity === entity) return last.subject;
    const subject = {
      pod: { ...(entity ?? nameless(pod)), addresses: addressesOf(pod) },
      nets: pod.allowedSources ?? [],
    };
    this.#found.set(pod, { entity, subject });
    return subject;
  }
}

/** This node knows best whose addresses its pods have: a predecessor may be in the store, or only that. */
function addressesHere(pods: readonly LocalPod[], here: ReadonlyMap<PodEntity, PodEntity>): Certain {
  const certain = new Map<Ip, PodEntity | undefined>();
  for (const pod of pods) for (const ip of pod.addresses) certain.set(ip, undefined);
  for (const entity of here.values()) for (const ip of entity.addresses) certain.set(ip, entity);
  return certain;
}

/** A pod may have several interfaces here. */
function joined(one: PodEntity | undefined, other: PodEntity): PodEntity {
  return one ? { ...other, addresses: [...new Set([...one.addresses, ...other.addresses])] } : other;
}

/** By its link-local address a pod also reaches its node and, on a bridge, others. */
function addressesOf({ addresses, mac, wiring = 'bridge' }: LocalPod): readonly Ip[] {
  const hasLinkLocal = (wiring === 'bridge' || wiring === 'routed') && addresses.some(isIpv6);
  return hasLinkLocal && mac !== undefined ? [...addresses, linkLocalOf(mac)] : addresses;
}

const isIpv6 = (ip: Ip): boolean => familyOf(ip) === 6;

/** A container that belongs to no pod of the store: no policy of a namespace is about it. */
function nameless({ containerId, addresses, labels }: LocalPod): PodEntity {
  return {
    kind: 'pod',
    namespace: '',
    name: containerId,
    labels,
    namespaceLabels: {},
    serviceAccount: '',
    serviceAccountLabels: {},
    ports: [],
    addresses,
  };
}
