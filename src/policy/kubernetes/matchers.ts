import type { EntityMatcher } from '../model/matcher.ts';
import { conditionText } from '../model/text.ts';
import type { LabelSelector } from './label-selector.ts';

/** Pods by their namespace, its labels, and their own: all that are present must hold. */
export function podMatcher(of: {
  readonly namespace?: string;
  readonly namespaces?: LabelSelector;
  readonly pods?: LabelSelector;
}): EntityMatcher {
  const { namespace, namespaces, pods } = of;
  const text = [
    namespace !== undefined && `namespace ${namespace}`,
    namespaces && `namespaces ${namespaces.text}`,
    pods && `pods ${pods.text}`,
  ];
  return {
    kind: 'pods',
    text: conditionText(text.filter(Boolean).join(', ')),
    size: Math.max(1, (namespaces?.size ?? 0) + (pods?.size ?? 0)),
    selects: (entity) =>
      entity.kind === 'pod' &&
      (namespace === undefined || entity.namespace === namespace) &&
      (namespaces?.selects(entity.namespaceLabels) ?? true) &&
      (pods?.selects(entity.labels) ?? true),
  };
}

export function nodeMatcher(nodes: LabelSelector): EntityMatcher {
  return {
    kind: 'nodes',
    text: conditionText(`nodes ${nodes.text}`),
    size: Math.max(1, nodes.size),
    selects: (entity) => entity.kind === 'node' && nodes.selects(entity.labels),
  };
}
