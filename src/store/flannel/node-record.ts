import { Fields } from '../../cluster/fields.ts';
import { parseForeignJson } from '../../cluster/json.ts';
import { unfitAddress } from '../../cluster/lawful.ts';
import type { Node } from '../../cluster/node.ts';
import { parseIp } from '../../ip/address.ts';
import { type Cidr, parseCidr } from '../../ip/cidr.ts';

/** Our record of a node, in addition to flannel's lease or, under the `blocks` plan, instead of it. */
export type NodeRecord = Pick<Node, 'name' | 'labels' | 'addresses' | 'senders' | 'subnets'> & {
  /** New with each join, to distinguish two agents with the same name. */
  readonly instance: string;
  /** Only if there is no lease that contains it. */
  readonly backend?: Node['backend'];
};

export function encodeRecord({ addresses, ...rest }: NodeRecord): string {
  return JSON.stringify({ ...rest, addresses: Object.values(addresses) });
}

/** Throws CONFIG_INVALID naming the field. */
export function decodeRecord(text: string): NodeRecord {
  const fields = new Fields(parseForeignJson(text), 'node');
  const name = fields.string('name');
  if (!name) throw fields.invalid('name', 'is missing');
  const labels = Object.entries(fields.raw('labels') ?? {}).filter(([, value]) => typeof value === 'string');
  const addresses = texts(fields, 'addresses').map(parseIp);
  for (const ip of addresses) {
    const unfit = unfitAddress(ip);
    if (unfit !== undefined) throw fields.invalid('addresses', unfit);
  }
  const ip4 = addresses.find((ip) => !ip.includes(':'));
  const ip6 = addresses.find((ip) => ip.includes(':'));
  const senders = texts(fields, 'senders').map(parseIp);
  const backend = fields.object('backend');
  return {
    name,
    labels: Object.fromEntries(labels) as Record<string, string>,
    addresses: { ...(ip4 && { 4: ip4 }), ...(ip6 && { 6: ip6 }) },
    ...(senders.length > 0 && { senders }),
    subnets: texts(fields, 'subnets').map((text): Cidr => parseCidr(text)),
    instance: fields.string('instance') ?? '',
    ...(backend && {
      backend: { type: backend.string('type') ?? '', data: backend.object('data')?.source ?? {} },
    }),
  };
}

function texts(fields: Fields, name: string): string[] {
  const list = fields.list(name) ?? [];
  if (list.every((item) => typeof item === 'string')) return [...list];
  throw fields.invalid(name, 'must be a list of strings');
}
