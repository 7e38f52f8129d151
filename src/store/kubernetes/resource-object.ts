import { API_VERSION, type Document, type Kind, readDocument } from '../../cluster/calico/document.ts';
import type { KubernetesObject } from '../../kubernetes/api/object.ts';
import { GROUP } from './crds.ts';

/** On a new pool until it is known that no other overlaps it. Such a pool does not count yet. */
const UNCHECKED = `${GROUP}/unchecked`;

/** What servers and clients keep on the side. */
const FOREIGN = 'kubectl.kubernetes.io/last-applied-configuration';

/** Throws CONFIG_INVALID. The object's kind is not looked at: lists leave it out. */
export function documentOf(kind: Kind, { metadata, spec }: KubernetesObject): Document {
  const { name, labels, resourceVersion } = metadata;
  const { [FOREIGN]: _, [UNCHECKED]: __, ...annotations } = metadata.annotations ?? {};
  return readDocument({
    apiVersion: API_VERSION,
    kind,
    metadata: {
      name,
      resourceVersion,
      ...(labels && { labels }),
      ...(Object.keys(annotations).length > 0 && { annotations }),
    },
    spec: spec ?? {},
  });
}

/** The object for a document, without a version. */
export function resourceObject({ metadata, spec }: Document): KubernetesObject {
  const { resourceVersion: _, ...kept } = metadata;
  return { metadata: kept, spec };
}

export function isUnchecked({ metadata }: KubernetesObject): boolean {
  return metadata.annotations?.[UNCHECKED] !== undefined;
}

export function unchecked(object: KubernetesObject): KubernetesObject {
  const annotations = { ...object.metadata.annotations, [UNCHECKED]: 'true' };
  return { ...object, metadata: { ...object.metadata, annotations } };
}
