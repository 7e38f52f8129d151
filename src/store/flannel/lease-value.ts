import { Fields } from '../../cluster/fields.ts';
import { parseForeignJson } from '../../cluster/json.ts';
import type { Node, PerFamily } from '../../cluster/node.ts';
import { messageOf } from '../../error.ts';
import type { Family, Ip } from '../../ip/address.ts';
import { goJson } from './go-json.ts';
import { NO_IPV4, publicIp } from './public-ip.ts';

/** The node data in flannel's lease. */
export type LeaseValue = Pick<Node, 'addresses' | 'backend'>;

/**
 * Encodes flannel's LeaseAttrs exactly as its Go encoder does: PublicIP and PublicIPv6 always, other fields
 * unless empty.
 */
export function encodeLease({ addresses, backend }: LeaseValue): string {
  const value = {
    PublicIP: addresses[4] ?? NO_IPV4,
    PublicIPv6: addresses[6] ?? null,
    BackendType: backend.type || undefined,
    BackendData: backend.data[4],
    BackendV6Data: backend.data[6],
  };
  return goJson(value);
}

/**
 * Decodes such a value, matching keys case-insensitively as Go does. An unreadable address only drops its
 * family and is reported to `warn`. Throws when the value is not a JSON object.
 */
export function decodeLease(text: string, warn: (problem: string) => void): LeaseValue {
  const fields = new Fields(parseForeignJson(text), 'lease');
  const data: { [F in Family]?: unknown } = {};
  for (const [family, name] of [
    [4, 'BackendData'],
    [6, 'BackendV6Data'],
  ] as const) {
    const value = fields.raw(name);
    if (value !== undefined) data[family] = value;
  }
  const addresses = { ...address(fields, 4, 'PublicIP', warn), ...address(fields, 6, 'PublicIPv6', warn) };
  return { addresses, backend: { type: fields.string('BackendType') ?? '', data } };
}

function address(
  fields: Fields,
  family: Family,
  name: string,
  warn: (problem: string) => void,
): PerFamily<Ip> {
  try {
    const ip = fields.parsed(name, (text) => publicIp(family, text));
    return ip === undefined ? {} : { [family]: ip };
  } catch (error) {
    warn(messageOf(error));
    return {};
  }
}
