import type { Bandwidth, Rate } from '../../cluster/bandwidth.ts';
import { Fields } from '../../cluster/fields.ts';
import { type HostPort, PORT_PROTOCOLS } from '../../cluster/host-port.ts';
import type { PodIdentity } from '../../cluster/node.ts';
import { isPhysical, WIRING_NAMES, type WiringName } from '../../cluster/wiring.ts';
import { type Ip, parseIp } from '../../ip/address.ts';
import { type Cidr, type Prefixed, parseCidr, parsePrefixed } from '../../ip/cidr.ts';
import { type Mac, parseMac } from '../../ip/mac.ts';

/**
 * Identifies an attachment. For one interface, we may be called to create the interface and, as an IPAM
 * delegate, to assign addresses.
 */
export type AttachmentKey = {
  readonly network: string;
  readonly containerId: string;
  readonly ifName: string;
  readonly role: 'interface' | 'ipam';
};

/**
 * Our record of one attachment. It is on disk before anything it refers to is created and removed after all
 * of that is gone, so it leads to anything left by a crash. It survives reboots, as reservations do.
 */
export type Attachment = AttachmentKey & {
  /**
   * `adding` until complete, `removing` once DEL starts. Without a call in progress, either was left by a
   * crash.
   */
  readonly state: 'adding' | 'ready' | 'removing';
  /**
   * Path of the pod's network namespace, its inode, and the boot during which the inode is valid. The inode
   * is 0 where the runtime named no namespace, UNKNOWN_NETNS in a rebuilt record whose pod was not found.
   */
  readonly netns: string;
  readonly netnsId: number;
  readonly bootId: string;
  /** host-local's directory with the reservations. */
  readonly dir: string;
  readonly addresses: readonly Prefixed[];
  /** The host end of the veth. If another plugin created the interface, the name it reported, if any. */
  readonly hostDevice?: string;
  readonly bridge?: string;
  /** Bytes. */
  readonly mtu?: number;
  readonly hairpin?: boolean;
  /** Absent for a bridge. */
  readonly wiring?: WiringName;
  /** Holds the addresses in the store if they come from blocks; `dir` is empty then. */
  readonly handle?: string;
  /** The addresses are leased from a DHCP server; `dir` is empty then. */
  readonly dhcp?: boolean;
  /** Addresses that come from other nodes' blocks. */
  readonly borrowed?: readonly Ip[];
  /** Of the pod's interface. Absent in records of earlier versions. */
  readonly mac?: Mac;
  /** Further networks that the pod may send from. */
  readonly allowedSources?: readonly Cidr[];
  /** How much the pod may receive and send. */
  readonly bandwidth?: Bandwidth;
  /** The node's ports that lead to the pod. */
  readonly hostPorts?: readonly HostPort[];
  /** The node's device that leads to the pod, if it is chained and has host ports. */
  readonly leadsVia?: string;
  /** Another plugin created the interface and removes it. */
  readonly chained?: boolean;
  /** The agent maintains the link's settings. */
  readonly managed?: boolean;
  /** Absent in records of earlier versions whose pod had no name. */
  readonly pod?: PodIdentity;
  /** What a rebuilt record, or one of an earlier version, does not know for certain. */
  readonly lost?: readonly Lost[];
};

export const UNKNOWN_NETNS = -1;

/** Whether the pod's interface has no end on the node: its wiring puts it on the physical network. */
export function hasNoHostEnd({ wiring }: Pick<Attachment, 'wiring'>): boolean {
  return wiring !== undefined && isPhysical(wiring);
}

/**
 * `addresses`: it has none, as nothing reserves any. `mac`: nothing proves that it is the pod's. `requests`:
 * labels, further sources and host ports are missing, if there were any.
 */
export type Lost = (typeof LOST)[number];

const LOST = ['addresses', 'mac', 'requests'] as const;

const ROLES = ['interface', 'ipam'] as const;
const STATES = ['adding', 'ready', 'removing'] as const;

/**
 * Reads a record, of any version. Fields of later versions are kept. Throws an error that says what is wrong
 * with the text: whatever a disk or a person made of it, nothing may be undone because of it.
 */
export function decodeAttachment(text: string): Attachment {
  const fields = new Fields(JSON.parse(text));
  const string = (name: string): string => required(fields, name, fields.string(name));
  const oneOf = <T extends string>(name: string, values: readonly T[]): T =>
    required(
      fields,
      name,
      values.find((value) => value === fields.string(name)),
    );
  const parsed = <T>(name: string, parse: (text: string) => T): readonly T[] | undefined =>
    fields.parsedList(name, parse);
  const { pod: _, ...others } = fields.source;
  return {
    ...others,
    network: string('network'),
    containerId: string('containerId'),
    ifName: string('ifName'),
    role: oneOf('role', ROLES),
    state: oneOf('state', STATES),
    netns: string('netns'),
    netnsId: required(fields, 'netnsId', fields.integer('netnsId', UNKNOWN_NETNS, Number.MAX_SAFE_INTEGER)),
    bootId: string('bootId'),
    dir: string('dir'),
    addresses: required(fields, 'addresses', parsed('addresses', parsePrefixed)),
    ...given('hostDevice', fields.string('hostDevice')),
    ...given('bridge', fields.string('bridge')),
    ...given('mtu', fields.integer('mtu', 0, 0xffffffff)),
    ...given('hairpin', fields.boolean('hairpin')),
    ...given('wiring', fields.has('wiring') ? oneOf('wiring', WIRING_NAMES) : undefined),
    ...given('handle', fields.string('handle')),
    ...given('dhcp', fields.boolean('dhcp')),
    ...given('borrowed', parsed('borrowed', parseIp)),
    ...given('mac', fields.parsed('mac', parseMac)),
    ...given('allowedSources', parsed('allowedSources', parseCidr)),
    ...given('bandwidth', bandwidthOf(fields.object('bandwidth'))),
    ...given('hostPorts', hostPortsOf(fields)),
    ...given('leadsVia', fields.string('leadsVia')),
    ...given('chained', fields.boolean('chained')),
    ...given('managed', fields.boolean('managed')),
    ...given('pod', podOf(fields)),
    ...given('lost', lostOf(fields)),
  };
}

/** Earlier versions wrote `namespace/name`. */
function podOf(fields: Fields): PodIdentity | undefined {
  const raw = fields.raw('pod');
  if (raw === undefined) return undefined;
  if (typeof raw === 'string') {
    const [namespace = '', name = ''] = raw.split('/');
    return { namespace, name, labels: {} };
  }
  const pod = new Fields(raw, 'pod');
  const labels = Object.entries(pod.object('labels')?.source ?? {});
  const wrong = labels.find(([, value]) => typeof value !== 'string');
  if (wrong) throw pod.invalid(`labels.${wrong[0]}`, 'must be a string');
  return {
    ...given('namespace', pod.string('namespace')),
    ...given('name', pod.string('name')),
    ...given('uid', pod.string('uid')),
    labels: Object.fromEntries(labels.map(([key, value]) => [key, String(value)])),
  };
}

function bandwidthOf(fields: Fields | undefined): Bandwidth | undefined {
  return (
    fields && { ...given('ingress', rateOf(fields, 'ingress')), ...given('egress', rateOf(fields, 'egress')) }
  );
}

function rateOf(fields: Fields, direction: keyof Bandwidth): Rate | undefined {
  const found = fields.object(direction);
  const bytes = (name: keyof Rate): number | undefined => found?.integer(name, 1, Number.MAX_SAFE_INTEGER);
  return (
    found && {
      rate: required(found, 'rate', bytes('rate')),
      burst: required(found, 'burst', bytes('burst')),
    }
  );
}

function hostPortsOf(fields: Fields): readonly HostPort[] | undefined {
  return fields.list('hostPorts')?.map((entry, i) => {
    const port = new Fields(entry, `hostPorts[${i}]`);
    const protocol = PORT_PROTOCOLS.find((name) => name === port.string('protocol'));
    return {
      protocol: required(port, 'protocol', protocol),
      hostPort: required(port, 'hostPort', port.integer('hostPort', 1, 65535)),
      containerPort: required(port, 'containerPort', port.integer('containerPort', 1, 65535)),
      ...given('hostIp', port.parsed('hostIp', parseIp)),
    };
  });
}

function lostOf(fields: Fields): readonly Lost[] | undefined {
  const names = fields.list('lost');
  return names && LOST.filter((name) => names.includes(name));
}

function required<T>(fields: Fields, name: string, value: T | undefined): T {
  if (value === undefined) throw fields.invalid(name, 'is missing or has no meaning');
  return value;
}

function given<K extends string, V>(key: K, value: V | undefined): { readonly [P in K]?: V } {
  return (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: V };
}
