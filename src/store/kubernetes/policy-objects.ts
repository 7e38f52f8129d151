import { parseForeignJson } from '../../cluster/json.ts';
import type { Labels } from '../../cluster/selector.ts';
import type { KubernetesObject } from '../../kubernetes/api/object.ts';
import { apiVersionOf, type ResourceType } from '../../kubernetes/api/resource.ts';
import type { Written } from '../../policy/collect.ts';
import { kindNamed } from '../../policy/kinds.ts';
import { labelsOf, podEntity } from '../../policy/kubernetes/pod.ts';
import type { OwnPod } from '../../policy/model/entity.ts';
import type { WrittenSet } from '../policies/network-sets.ts';
import { CALICO_V1 } from './policy-kinds.ts';

/** Where Calico's API server puts what users have written into `metadata`, labels too since version 3.29. */
const CALICO_METADATA = 'projectcalico.org/metadata';

/** A policy, or a Tier. */
export function writtenOf(resource: ResourceType, { metadata, spec }: KubernetesObject): Written {
  const { namespace, name } = metadata;
  const kind = kindNamed(resource.kind, apiVersionOf(resource)) ?? resource.kind;
  return { kind, name, ...(namespace !== undefined && { namespace }), spec };
}

/** A NetworkSet or a GlobalNetworkSet. */
export function writtenSetOf({ group }: ResourceType, object: KubernetesObject): WrittenSet {
  const { namespace, name } = object.metadata;
  const labels = { ...labelsOf(object), ...(group === CALICO_V1.group && calicoLabels(object)) };
  return { name, ...(namespace !== undefined && { namespace }), labels, spec: object.spec };
}

/** Undefined for one on its node's own network, or that has ended. */
export function ownPodOf(object: KubernetesObject): OwnPod | undefined {
  const pod = podEntity(object, { ofNamespace: () => ({}), ofServiceAccount: () => ({}) });
  if (!pod) return undefined;
  const { namespaceLabels: _, serviceAccountLabels: __, ...own } = pod;
  return own;
}

function calicoLabels({ metadata }: KubernetesObject): Labels {
  try {
    return labelsOf({ metadata: parseForeignJson(metadata.annotations?.[CALICO_METADATA] ?? '{}') });
  } catch {
    // Nobody's labels, if anybody can write them at all.
    return {};
  }
}
