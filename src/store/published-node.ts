import type { KubernetesObject } from '../kubernetes/api/object.ts';
import { annotationKeys } from './kubernetes/node/keys.ts';
import { type NodeReading, readNode } from './kubernetes/node/read.ts';

/** What a Node object says of the pod network, for those who look from outside. Never throws. */
export function publishedNode(object: KubernetesObject): Pick<NodeReading, 'subnets' | 'published'> {
  return readNode(annotationKeys(), object);
}
