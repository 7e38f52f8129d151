import { Fields } from '../cluster/fields.ts';
import { FlatnetError, messageOf } from '../error.ts';
import {
  BITS,
  type Family,
  familyOf,
  type Ip,
  ipAdd,
  ipCompare,
  ipFromBigInt,
  ipToBigInt,
  parseIp,
  unmapped,
} from '../ip/address.ts';
import { addressOf, type Cidr, cidrOf, contains, lastIp, lengthOf, parsePrefixed } from '../ip/cidr.ts';

/** Addresses of one subnet available to pods: `start` to `end` inclusive, except the gateway. */
export type Range = {
  readonly subnet: Cidr;
  readonly start: Ip;
  readonly end: Ip;
  readonly gateway: Ip;
};

/**
 * A pod gets one address from each set. A set has at least one range; its ranges are of the same family and
 * are tried in order.
 */
export type RangeSet = readonly [Range, ...Range[]];

/**
 * Applies host-local's defaults for a subnet: the first address is the gateway, and every address except the
 * IPv4 broadcast address is available.
 */
export function rangeOf(subnet: Cidr, given: { start?: Ip; end?: Ip; gateway?: Ip } = {}): Range {
  const first = ipAdd(addressOf(subnet), 1);
  return {
    subnet,
    start: given.start ?? first,
    end: given.end ?? ipAdd(lastIp(subnet), familyOf(subnet) === 4 ? -1 : 0),
    gateway: given.gateway ?? first,
  };
}

/**
 * Reads the range sets of a CNI configuration in host-local's order: `runtimeConfig.ipRanges`, then the
 * legacy `ipam.subnet`, then `ipam.ranges`. Empty when there are none. Throws CONFIG_INVALID with
 * host-local's messages.
 */
export function readRangeSets(conf: unknown): readonly RangeSet[] {
  const fields = new Fields(conf);
  const ipam = fields.object('ipam');
  const lists = [
    ...(fields.object('runtimeConfig')?.list('ipRanges') ?? []),
    ...(ipam?.has('subnet') ? [[ipam.source]] : []),
    ...(ipam?.list('ranges') ?? []),
  ];
  const sets = lists.map((list, i) => {
    try {
      return readSet(list);
    } catch (error) {
      throw invalid(`invalid range set ${i}: ${messageOf(error)}`, error);
    }
  });
  for (const [i, a] of sets.entries()) {
    const j = sets.findIndex((b, j) => j > i && a.some((r) => b.some((s) => rangesOverlap(r, s))));
    if (j > 0) throw invalid(`range set ${i} overlaps with ${j}`);
  }
  const version = fields.string('cniVersion') ?? '0.1.0';
  const hasSeveralPerFamily = ([4, 6] as Family[]).some(
    (family) => sets.filter((set) => familyOfSet(set) === family).length > 1,
  );
  if (hasSeveralPerFamily && /^0\.[12]\./.test(version)) {
    throw invalid(`CNI version ${version} does not support more than 1 address per family`);
  }
  return sets;
}

export function inRange(range: Range, ip: Ip): boolean {
  return (
    familyOf(ip) === familyOf(range.start) && ipCompare(ip, range.start) >= 0 && ipCompare(ip, range.end) <= 0
  );
}

/** Returns the set's range that contains the address. */
export function rangeFor(set: RangeSet, ip: Ip): Range | undefined {
  return set.find((range) => inRange(range, ip));
}

export function familyOfSet(set: RangeSet): Family {
  return familyOf(set[0].start);
}

/** Formats a set as host-local's errors do: `10.0.0.1-10.0.0.9,10.0.1.1-10.0.1.9`. */
export function rangeSetText(set: RangeSet): string {
  return set.map(rangeText).join(',');
}

/**
 * Yields every address of the set once, except gateways, starting after `last` (or at the beginning if `last`
 * is not in the set).
 */
export function* roundRobin(set: RangeSet, last: Ip | undefined): Generator<Ip> {
  const at = last ? set.findIndex((range) => inRange(range, last)) : -1;
  const range = set[at];
  if (!range || !last) {
    for (const range of set) yield* addresses(range, range.start, range.end);
    return;
  }
  yield* addresses(range, ipAdd(last, 1), range.end);
  for (const other of [...set.slice(at + 1), ...set.slice(0, at)])
    yield* addresses(other, other.start, other.end);
  yield* addresses(range, range.start, last);
}

function* addresses(range: Range, from: Ip, to: Ip): Generator<Ip> {
  const end = ipToBigInt(to);
  for (let value = ipToBigInt(from); value <= end; value++) {
    const ip = ipFromBigInt(familyOf(to), value);
    if (ip !== range.gateway) yield ip;
  }
}

function readSet(list: unknown): RangeSet {
  if (!Array.isArray(list)) throw new TypeError('must be a list of ranges');
  const [first, ...rest] = list.map(readRange);
  if (!first) throw new TypeError('empty range set');
  const set: RangeSet = [first, ...rest];
  for (const [i, range] of set.entries()) {
    if (familyOf(range.subnet) !== familyOfSet(set)) throw new TypeError('mixed address families');
    const other = set.slice(i + 1).find((other) => rangesOverlap(range, other));
    if (other) throw new TypeError(`subnets ${rangeText(range)} and ${rangeText(other)} overlap`);
  }
  return set;
}

function readRange(value: unknown): Range {
  const fields = new Fields(value, 'range');
  const written = fields.parsed('subnet', parsePrefixed);
  if (!written) throw fields.invalid('subnet', 'is missing; set it, e.g. to 10.22.0.0/24');
  const subnet = cidrOf(unmapped(addressOf(written)), lengthOf(written));
  const length = lengthOf(subnet);
  if (length > BITS[familyOf(subnet)] - 2) {
    throw new TypeError(`Network ${subnet} too small to allocate from`);
  }
  if (addressOf(written) !== addressOf(subnet)) {
    throw new TypeError(
      `Network has host bits set. For a subnet mask of length ${length} the network address is ${addressOf(subnet)}`,
    );
  }
  const ip = (name: string): Ip | undefined => fields.parsed(name, (text) => unmapped(parseIp(text)));
  const [start, end, gateway] = [ip('rangeStart'), ip('rangeEnd'), ip('gateway')];
  if (start && (!contains(subnet, start) || (end && ipCompare(start, end) > 0))) {
    throw new TypeError(`RangeStart ${start} not in network ${subnet}`);
  }
  const range = rangeOf(subnet, {
    ...(start && { start }),
    ...(end && { end }),
    ...(gateway && { gateway }),
  });
  if (!contains(subnet, range.end) || ipCompare(range.start, range.end) > 0) {
    throw new TypeError(`RangeEnd ${range.end} not in network ${subnet}`);
  }
  return range;
}

function rangesOverlap(a: Range, b: Range): boolean {
  return inRange(a, b.start) || inRange(a, b.end) || inRange(b, a.start);
}

function rangeText(range: Range): string {
  return `${range.start}-${range.end}`;
}

function invalid(text: string, cause?: unknown): FlatnetError {
  return new FlatnetError(text, { code: 'CONFIG_INVALID', cause });
}
