import { asJson, type Json, type KubernetesObject } from '../../../kubernetes/api/object.ts';
import type { Annotations } from './annotations.ts';
import { type AnnotationKeys, writtenKeys } from './keys.ts';

/** The patch that gives a Node these annotations (null: none); undefined if it has them. */
export function annotationsPatch(
  wanted: Readonly<Record<string, string | null>>,
  current: Annotations,
): Json | undefined {
  const changes = Object.entries(wanted).filter(([key, value]) => (current[key] ?? null) !== value);
  return changes.length > 0 ? { metadata: { annotations: Object.fromEntries(changes) } } : undefined;
}

/** The patch after which no agent runs on a Node; undefined if none does. */
export function departurePatch(keys: AnnotationKeys, current: Annotations): Json | undefined {
  return annotationsPatch(Object.fromEntries(writtenKeys(keys).map((key) => [key, null])), current);
}

/** The condition that keeps the scheduler from a node while it is `True`. */
export const NETWORK_UNAVAILABLE = 'NetworkUnavailable';

/** A condition of a Node, as far as its writer decides. */
export type Condition = {
  readonly type: string;
  readonly status: 'True' | 'False';
  /** A word in CamelCase. */
  readonly reason: string;
  readonly message: string;
};

/** What a condition says, for comparison. */
export function conditionText({ status, reason, message }: Json): string {
  return `${status} ${reason} ${message}`;
}

/** A condition of a Node; undefined if it has none of the type. */
export function conditionOf(node: KubernetesObject, wanted: Condition['type']): Json | undefined {
  const { conditions } = asJson(node.status);
  const all: readonly unknown[] = Array.isArray(conditions) ? conditions : [];
  return all.map(asJson).find(({ type }) => type === wanted);
}

/** The patch that gives a Node a condition; undefined if it has it. */
export function conditionPatch(wanted: Condition, node: KubernetesObject, now: Date): Json | undefined {
  const current = conditionOf(node, wanted.type) ?? {};
  if (conditionText(current) === conditionText(wanted)) return undefined;
  const time = `${now.toISOString().slice(0, 19)}Z`;
  const changed = current.status === wanted.status ? {} : { lastTransitionTime: time };
  return { status: { conditions: [{ ...wanted, lastHeartbeatTime: time, ...changed }] } };
}
