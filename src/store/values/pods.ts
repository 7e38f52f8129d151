import { Fields } from '../../cluster/fields.ts';
import { parseForeignJson } from '../../cluster/json.ts';
import type { Labels } from '../../cluster/selector.ts';
import { parseIp } from '../../ip/address.ts';
import type { NamedPort, OwnPod } from '../../policy/model/entity.ts';

/** What a store's key says of a pod already. */
export type PodPlace = Pick<OwnPod, 'namespace' | 'name'> & { readonly node: string };

/** A pod as JSON, without what its key says. */
export function encodePod({ uid, labels, serviceAccount, ports, addresses }: OwnPod): string {
  return JSON.stringify({ uid, labels, ...(serviceAccount && { serviceAccount }), ports, addresses });
}

/** Throws CONFIG_INVALID naming the field; SyntaxError. */
export function decodePod(text: string, { namespace, name, node }: PodPlace): OwnPod {
  const fields = new Fields(parseForeignJson(text));
  const uid = fields.string('uid');
  const addresses = fields.parsedList('addresses', parseIp);
  if (!addresses) throw fields.invalid('addresses', 'is missing');
  return {
    kind: 'pod',
    namespace,
    name,
    node,
    ...(uid !== undefined && { uid }),
    labels: labelsIn(fields),
    serviceAccount: fields.string('serviceAccount') ?? '',
    ports: (fields.list('ports') ?? []).map((each, i) => portIn(new Fields(each, `ports[${i}]`))),
    addresses,
  };
}

function labelsIn(fields: Fields): Labels {
  const labels = fields.object('labels');
  const entries = (labels?.entries() ?? []).map(([key, value]): [string, string] => {
    if (typeof value === 'string') return [key, value];
    throw fields.invalid(`labels.${key}`, 'must be a string');
  });
  return Object.fromEntries(entries);
}

function portIn(fields: Fields): NamedPort {
  const [name, protocol, port] = [
    fields.string('name'),
    fields.integer('protocol', 1, 255),
    fields.integer('port', 1, 65535),
  ];
  if (name === undefined || protocol === undefined || port === undefined)
    throw fields.invalid('name', 'protocol and port are all needed');
  return { name, protocol, port };
}
