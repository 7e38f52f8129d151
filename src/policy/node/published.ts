import { type LocalPod, podName } from '../../cluster/node.ts';
import type { OwnPod } from '../model/entity.ts';

/**
 * This node's pods as others are told of them, as far as the runtime has named them: a pod's service account
 * and the names of its ports are not known.
 */
export function publishedPods(pods: readonly LocalPod[], node: string): readonly OwnPod[] {
  const published = new Map<string, OwnPod>();
  for (const pod of pods) {
    const { namespace, name, uid, labels, addresses } = pod;
    const title = podName(pod);
    if (!namespace || !name || title === undefined) continue;
    const before = published.get(title);
    // Of several interfaces, or of a pod and its predecessor, whose addresses may still be in use.
    const all = [...new Set([...(before?.addresses ?? []), ...addresses])];
    published.set(title, {
      kind: 'pod',
      namespace,
      name,
      ...(uid !== undefined && { uid }),
      labels,
      serviceAccount: '',
      ports: [],
      node,
      addresses: all,
    });
  }
  return [...published.values()];
}
