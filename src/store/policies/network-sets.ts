import { Fields } from '../../cluster/fields.ts';
import type { Labels } from '../../cluster/selector.ts';
import { messageOf } from '../../error.ts';
import type { Cidr } from '../../ip/cidr.ts';
import { networkOrAddress } from '../../policy/calico/entity-rule.ts';
import { readNetworkSet } from '../../policy/calico/network-set.ts';
import type { NetworkSetEntity } from '../../policy/model/entity.ts';

/** A network set as written, or a GlobalNetworkSet, which has no namespace. */
export type WrittenSet = {
  readonly namespace?: string;
  readonly name: string;
  readonly labels: Labels;
  readonly spec: unknown;
  /** Why nothing of it can be read. */
  readonly unreadable?: string;
};

/** `problem`: why it has networks that cannot be read, and lacks; `isUnknown`: its labels, too. */
export type ReadSet = {
  readonly set: NetworkSetEntity;
  readonly problem?: string;
  readonly isUnknown?: boolean;
};

/** Reads a network set, as far as it can be read. */
export function readSet(
  { namespace, name, labels, spec, unreadable }: WrittenSet,
  namespaceLabels: Labels,
): ReadSet {
  const of = { namespace, name, labels, namespaceLabels };
  if (unreadable !== undefined)
    return { set: { kind: 'network-set', ...of, nets: [] }, problem: unreadable, isUnknown: true };
  try {
    return { set: readNetworkSet(of, new Fields(spec ?? {}, 'spec')) };
  } catch (error) {
    return { set: { kind: 'network-set', ...of, nets: readable(spec) }, problem: messageOf(error) };
  }
}

function readable(spec: unknown): readonly Cidr[] {
  const { nets } = (spec ?? {}) as { readonly nets?: unknown };
  const texts: readonly unknown[] = Array.isArray(nets) ? nets : [];
  return texts.flatMap((text) => {
    try {
      return typeof text === 'string' ? [networkOrAddress(text)] : [];
    } catch {
      return [];
    }
  });
}
