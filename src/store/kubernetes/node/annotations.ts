import { parseForeignJson } from '../../../cluster/json.ts';
import { type NodeFacts, type PerFamily, perFamily } from '../../../cluster/node.ts';
import { messageOf } from '../../../error.ts';
import { FAMILIES, type Family, familyOf, type Ip } from '../../../ip/address.ts';
import type { Cidr } from '../../../ip/cidr.ts';
import { goJson } from '../../flannel/go-json.ts';
import { decodeRecord, encodeRecord } from '../../flannel/node-record.ts';
import { NO_IPV4, publicIp } from '../../flannel/public-ip.ts';
import { type AnnotationKeys, RECORD, writtenKeys } from './keys.ts';

/** A node as its agent publishes it in annotations; its subnets are in the Node's own fields. */
export type Published = NodeFacts & {
  /** Of the agent that wrote our record; absent where flannel alone did. */
  readonly instance?: string;
};

export type Annotations = Readonly<Record<string, string>>;

/** What one agent wants to be known of its node. */
export type Holding = {
  readonly self: NodeFacts;
  /** Empty under the `blocks` plan. */
  readonly subnets: readonly Cidr[];
  readonly instance: string;
};

/**
 * The annotations of a node, flannel's byte for byte; null: there must be none. `current`: those that the
 * Node has. An address that a person overwrites becomes another address that packets come from.
 */
export function encodeAnnotations(
  keys: AnnotationKeys,
  { self, subnets, instance }: Holding,
  current: Annotations,
): Record<string, string | null> {
  if (subnets.length === 0) return ownAnnotations(keys, self, instance);
  const overwrites = perFamily((family) => overwrite(keys, family, current));
  const pairs: [string, string | null][] = FAMILIES.flatMap((family) => {
    const { type, data } = self.backend;
    const isIpv6Only = family === 4 && !subnets.some((subnet) => familyOf(subnet) === 4);
    // As flannel: an IPv6-only node of a VXLAN network has no IPv4 part, one of other networks an empty one.
    const own = isIpv6Only && type !== 'vxlan' ? NO_IPV4 : self.addresses[family];
    const isAbsent = own === undefined || (family === 4 && type === 'vxlan' && data[4] === undefined);
    return [
      [keys.backendData[family], isAbsent ? null : goJson(data[family] ?? null)],
      [keys.publicIp[family], isAbsent ? null : (overwrites[family] ?? own)],
    ];
  });
  const hidden = FAMILIES.flatMap((family) => (overwrites[family] && self.addresses[family]) ?? []);
  const senders = [...new Set([...(self.senders ?? []), ...hidden])];
  const { name, labels, addresses } = self;
  const record = { name, labels, addresses, ...(senders.length > 0 && { senders }), subnets, instance };
  return {
    [keys.manager]: 'true',
    [keys.backendType]: self.backend.type,
    ...Object.fromEntries(pairs),
    [RECORD]: encodeRecord(record),
  };
}

/**
 * Reads a node's annotations; undefined if no agent has written any. What cannot be read is left out, with
 * its family, and reported to `warn`.
 */
export function decodeAnnotations(
  keys: AnnotationKeys,
  name: string,
  annotations: Annotations,
  warn: (problem: string) => void,
): Published | undefined {
  const record = attempt(RECORD, annotations, (text) => recordOf(name, text), warn);
  if (annotations[keys.manager] !== 'true') {
    if (!record?.backend) return undefined;
    const { subnets: _, backend, ...rest } = record;
    return { ...rest, backend };
  }
  const data: { [F in Family]?: unknown } = {};
  const addresses: { [F in Family]?: Ip } = {};
  for (const family of FAMILIES) {
    const ip = attempt(keys.publicIp[family], annotations, (text) => publicIp(family, text), warn);
    if (ip === undefined) continue;
    const key = keys.backendData[family];
    const value = attempt(key, annotations, (text) => ({ value: parseForeignJson(text) }), warn);
    // Without it, peers would not know how to reach it.
    if (annotations[key] !== undefined && value === undefined) continue;
    addresses[family] = ip;
    if (value && value.value !== null) data[family] = value.value;
  }
  return {
    name,
    labels: record?.labels ?? {},
    addresses,
    ...(record?.senders && { senders: record.senders }),
    backend: { type: annotations[keys.backendType] ?? '', data },
    ...(record && { instance: record.instance }),
  };
}

/** With addresses from blocks there is nothing for flannel: our record says all. */
function ownAnnotations(
  keys: AnnotationKeys,
  { name, labels, addresses, senders, backend }: NodeFacts,
  instance: string,
): Record<string, string | null> {
  const record = { name, labels, addresses, ...(senders && { senders }), subnets: [], instance, backend };
  const none = writtenKeys(keys).map((key): [string, null] => [key, null]);
  return { ...Object.fromEntries(none), [RECORD]: encodeRecord(record) };
}

/** The subnets of those families in which a node can be reached. */
export function reachable(subnets: readonly Cidr[], addresses: PerFamily<Ip>): readonly Cidr[] {
  return subnets.filter((subnet) => addresses[familyOf(subnet)] !== undefined);
}

function overwrite(keys: AnnotationKeys, family: Family, current: Annotations): Ip | undefined {
  // What a person has mistyped is not published.
  return attempt(
    keys.overwrite[family],
    current,
    (text) => publicIp(family, text),
    () => {},
  );
}

function recordOf(name: string, text: string): ReturnType<typeof decodeRecord> {
  const record = decodeRecord(text);
  if (record.name === name) return record;
  throw new Error(`says it is '${record.name}'`);
}

function attempt<T>(
  key: string,
  annotations: Annotations,
  read: (text: string) => T | undefined,
  warn: (problem: string) => void,
): T | undefined {
  const text = annotations[key];
  if (text === undefined) return undefined;
  try {
    return read(text);
  } catch (error) {
    warn(`${key}: ${messageOf(error)}`);
    return undefined;
  }
}
