import { Fields } from '../cluster/fields.ts';
import { unfitAddress, unlawfulSubnet } from '../cluster/lawful.ts';
import { isNodeName } from '../cluster/names.ts';
import type { Network } from '../cluster/network.ts';
import type { Node, PerFamily } from '../cluster/node.ts';
import { FlatnetError } from '../error.ts';
import { familyOf, type Ip, ipCompare, parseIp } from '../ip/address.ts';
import { addressOf, type Cidr, contains, lengthOf, parseCidr } from '../ip/cidr.ts';

/** Throws CONFIG_INVALID naming the field. */
export function readNode(fields: Fields, network: Network): Node {
  const name = fields.string('name') ?? '';
  if (!isNodeName(name)) throw fields.invalid('name', `'${name}' is not a DNS name`);
  const labels = fields.object('labels') ?? new Fields({});
  for (const [key] of labels.entries()) labels.string(key);
  const addresses = perFamily(fields, 'addresses', fields.parsedList('addresses', readAddress) ?? []);
  if (Object.keys(addresses).length === 0) throw fields.invalid('addresses', 'has none');
  const senders = fields.parsedList('senders', parseIp) ?? [];
  const subnets = fields.parsedList('subnets', parseCidr) ?? [];
  perFamily(fields, 'subnets', subnets);
  checkSubnets(fields, network, subnets);
  const backend = fields.object('backend') ?? new Fields({}, `${fields.path}.backend`);
  const data = backend.object('data') ?? new Fields({});
  const [v4, v6] = [data.raw('4'), data.raw('6')];
  const node = {
    name,
    labels: labels.source as Readonly<Record<string, string>>,
    addresses,
    ...(senders.length > 0 && { senders }),
    subnets,
    backend: {
      type: backend.string('type') ?? '',
      data: { ...(v4 !== undefined && { 4: v4 }), ...(v6 !== undefined && { 6: v6 }) },
    },
  };
  fields.refuseUnread();
  return node;
}

/** What cannot be seen in one node alone. Throws CONFIG_INVALID. */
export function checkNodes(nodes: readonly Node[]): void {
  const names = new Set<string>();
  const holders = new Map<Ip, string>();
  for (const { name, addresses } of nodes) {
    if (names.has(name)) throw invalid(`${name} is there twice`);
    names.add(name);
    for (const ip of Object.values(addresses)) {
      const holder = holders.get(ip);
      if (holder !== undefined) throw invalid(`${holder} and ${name} have the same address, ${ip}`);
      holders.set(ip, name);
    }
  }
  const held = nodes.flatMap(({ name, subnets }) => subnets.map((cidr) => ({ name, cidr })));
  // Sorted by address, two of which one contains the other come one after the other.
  const sorted = held.sort(
    (a, b) => ipCompare(addressOf(a.cidr), addressOf(b.cidr)) || lengthOf(a.cidr) - lengthOf(b.cidr),
  );
  for (const [i, { name, cidr }] of sorted.entries()) {
    const before = sorted[i - 1];
    if (before && contains(before.cidr, cidr)) {
      throw invalid(`${cidr} of ${name} overlaps ${before.cidr} of ${before.name}`);
    }
  }
}

function readAddress(text: string): Ip {
  const ip = parseIp(text);
  const unfit = unfitAddress(ip);
  if (unfit !== undefined) throw new Error(unfit);
  return ip;
}

function perFamily<T extends Ip | Cidr>(fields: Fields, name: string, values: readonly T[]): PerFamily<T> {
  const families = values.map(familyOf);
  if (new Set(families).size < families.length) throw fields.invalid(name, 'has two of one family');
  return Object.fromEntries(values.map((value) => [familyOf(value), value])) as PerFamily<T>;
}

function checkSubnets(fields: Fields, network: Network, subnets: readonly Cidr[]): void {
  if (network.addresses !== 'lease' && subnets.length > 0) {
    throw fields.invalid(
      'subnets',
      `must be empty: in this network, addresses come from ${network.addresses}`,
    );
  }
  if (network.addresses === 'lease' && subnets.length === 0) throw fields.invalid('subnets', 'has none');
  for (const [i, subnet] of subnets.entries()) {
    const unlawful = unlawfulSubnet(network, subnet);
    if (unlawful !== undefined) throw fields.invalid(`subnets[${i}]`, unlawful);
  }
}

function invalid(text: string): FlatnetError {
  return new FlatnetError(text, { code: 'CONFIG_INVALID', object: 'nodes' });
}
