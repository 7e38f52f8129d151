import { decode, type Resource } from '../../cluster/calico/decode.ts';
import { readDocument, titleOf } from '../../cluster/calico/document.ts';
import { parseJson } from '../../cluster/json.ts';
import { isNodeName } from '../../cluster/names.ts';
import type { Network } from '../../cluster/network.ts';
import { messageOf } from '../../error.ts';
import type { Cidr } from '../../ip/cidr.ts';
import { decodeLease, type LeaseValue } from '../flannel/lease-value.ts';
import { decodeRecord, type NodeRecord } from '../flannel/node-record.ts';
import type { KeyValue } from '../kv/kv.ts';
import { type AffinityState, isAffinityState } from '../ports/blocks.ts';
import type { CheckNetwork } from '../ports/network.ts';
import type { Layout } from './layout.ts';
import { decodeNetwork } from './network.ts';

/** A lease as stored. `value` is undefined if unreadable; its subnets are taken nevertheless. */
export type Lease = {
  readonly kv: KeyValue;
  readonly subnets: readonly Cidr[];
  readonly value: LeaseValue | undefined;
  /** The value that names a node: the stored one, or the last good one (`lastGood`). */
  readonly inForce: LeaseValue | undefined;
};
export type Recorded = { readonly kv: KeyValue; readonly record: NodeRecord };

/** A decoded key. */
export type Fact =
  | { readonly kind: 'network'; readonly kv: KeyValue; readonly network: Network }
  | ({ readonly kind: 'lease' } & Lease)
  | ({ readonly kind: 'record' } & Recorded)
  | { readonly kind: 'family'; readonly kv: KeyValue; readonly subnet: Cidr }
  | { readonly kind: 'challenge'; readonly kv: KeyValue; readonly name: string }
  | { readonly kind: 'resource'; readonly kv: KeyValue; readonly resource: Resource }
  | ({ readonly kind: 'affinity' } & AffinityFact);

/** `state` is undefined if the value is none. */
export type AffinityFact = {
  readonly kv: KeyValue;
  readonly node: string;
  readonly block: Cidr;
  readonly state: AffinityState | undefined;
};

export type Warn = (key: string, problem: string) => void;

/** Decodes one key of the network. Undefined for foreign keys and for unreadable ones, reported to `warn`. */
export function readFact(layout: Layout, kv: KeyValue, warn: Warn, check: CheckNetwork): Fact | undefined {
  try {
    const kind = layout.kindOf(kv.key);
    switch (kind?.kind) {
      case undefined:
        return undefined;
      case 'config':
        return { kind: 'network', kv, network: decodeNetwork(kv.value, check) };
      case 'lease': {
        const value = leaseValue(kv, warn);
        return {
          kind: 'lease',
          kv,
          subnets: kind.subnets,
          value,
          inForce: namesNobody({ value }) ? undefined : value,
        };
      }
      case 'node':
        return { kind: 'record', kv, record: recordOf(kv, kind.name) };
      case 'family':
        if (!isNodeName(kv.value)) throw new Error(`'${kv.value}' is not a node's name`);
        return { ...kind, kv };
      case 'challenge':
        return { ...kind, kv };
      case 'affinity':
        return { ...kind, kv, state: affinityState(kv, warn) };
      case 'resource':
        return { kind: 'resource', kv, resource: resourceOf(kv, `${kind.resource}/${kind.name}`, warn) };
    }
  } catch (error) {
    warn(kv.key, messageOf(error));
    return undefined;
  }
}

function leaseValue(kv: KeyValue, warn: Warn): LeaseValue | undefined {
  try {
    return decodeLease(kv.value, (problem) => warn(kv.key, problem));
  } catch (error) {
    warn(kv.key, messageOf(error));
    return undefined;
  }
}

/** Whether a lease has no address: it is a reservation that no node uses, or damaged. */
export function namesNobody({ value }: Pick<Lease, 'value'>): boolean {
  return Object.keys(value?.addresses ?? {}).length === 0;
}

function affinityState(kv: KeyValue, warn: Warn): AffinityState | undefined {
  if (isAffinityState(kv.value)) return kv.value;
  warn(kv.key, `'${kv.value}' is not an affinity state`);
  return undefined;
}

function recordOf(kv: KeyValue, name: string): NodeRecord {
  const record = decodeRecord(kv.value);
  if (record.name === name) return record;
  throw new Error(`says it is '${record.name}'`);
}

function resourceOf(kv: KeyValue, title: string, warn: Warn): Resource {
  const document = readDocument(parseJson(kv.value));
  if (titleOf(document) === title) return decode(document, '', (problem) => warn(kv.key, problem));
  throw new Error(`says it is ${titleOf(document)}`);
}
