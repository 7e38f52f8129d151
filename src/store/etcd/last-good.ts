import type { KeyValue } from '../kv/kv.ts';
import { type Fact, namesNobody } from './facts.ts';

/**
 * Returns the last good value of a node's lease, record or affinity if its key was overwritten with something
 * that cannot be one: the node has not gone for that. `read`: what `kv` says. Undefined if `read` counts.
 *
 * Only within one life of the key: a deletion ends what the key said, and a key created afterwards may be
 * anybody's. A node's subnets, name and address follow from the key and from the last good value together,
 * so no part of an unreadable value is mixed in.
 */
export function lastGood(read: Fact | undefined, before: Fact | undefined, kv: KeyValue): Fact | undefined {
  if (before?.kv.createRevision !== kv.createRevision) return undefined;
  switch (before.kind) {
    case 'lease':
      if (read?.kind !== 'lease' || !namesNobody(read) || before.inForce === undefined) return undefined;
      return { ...before, value: read.value };
    case 'record':
      return read ? undefined : before;
    case 'affinity':
      return read?.kind === 'affinity' && read.state === undefined ? before : undefined;
    default:
      return undefined;
  }
}
