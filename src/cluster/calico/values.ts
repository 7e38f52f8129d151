import { type Ip, isIp, parseIp } from '../../ip/address.ts';
import { type Cidr, hostCidr, parseCidr, parsePrefixed } from '../../ip/cidr.ts';
import type { Fields } from '../fields.ts';
import type { Community, SecretRef } from '../resources.ts';
import { parseSelector } from '../selector.ts';
import { bgpAddressProblem } from './bgp-address.ts';
import { refuseOthers, required, text } from './spec.ts';

const MAX_U32 = 2 ** 32 - 1;

/** A number, its decimal text, or `high.low` in 16-bit halves (RFC 5396 asdot). 0 is reserved (RFC 7607). */
export function asNumber(fields: Fields, name: string): number | undefined {
  const value = fields.raw(name);
  if (value === undefined || value === '') return undefined;
  const number = typeof value === 'number' ? value : typeof value === 'string' ? fromText(value) : Number.NaN;
  if (Number.isInteger(number) && number >= 1 && number <= MAX_U32) return number;
  throw fields.invalid(
    name,
    `must be an AS number from 1 to ${MAX_U32}, or "high.low" in quotes, not ${JSON.stringify(value)}`,
  );
}

function fromText(value: string): number {
  if (/^[0-9]{1,10}$/.test(value)) return Number(value);
  const halves = /^([0-9]{1,5})\.([0-9]{1,5})$/.exec(value)?.slice(1).map(Number);
  const [high = 0, low = 0] = halves ?? [];
  return halves && high < 65536 && low < 65536 ? high * 65536 + low : Number.NaN;
}

const UNITS: Readonly<Record<string, number>> = {
  ns: 1e-9,
  us: 1e-6,
  µs: 1e-6,
  ms: 1e-3,
  s: 1,
  m: 60,
  h: 3600,
};

/** A Go duration, such as `2m` or `1m30s`, in whole seconds up to `max`. */
export function seconds(fields: Fields, name: string, max: number): number | undefined {
  const plain = `${fields.raw(name)}`;
  if (/^[0-9]+$/.test(plain)) throw fields.invalid(name, `${plain} has no unit; write ${plain}s`);
  const value = text(fields, name);
  if (value === undefined) return undefined;
  const parts = [...value.matchAll(/([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)/g)];
  const isWhole = parts.map(([part]) => part).join('') === value;
  const sum = parts.reduce((total, [, count, unit = '']) => total + Number(count) * (UNITS[unit] ?? 0), 0);
  if (isWhole && Number.isInteger(sum) && sum >= 1 && sum <= max) return sum;
  throw fields.invalid(
    name,
    `must be a duration of 1s to ${max}s in whole seconds, like 2m or 90s, not '${value}'`,
  );
}

/**
 * `65000:100` in 16 bits each, or `65000:1:2` in 32 bits each (RFC 1997, RFC 8092). Undefined for any other
 * text.
 */
export function community(value: string): Community | undefined {
  if (!/^[0-9]{1,10}(:[0-9]{1,10}){1,2}$/.test(value)) return undefined;
  const [a = 0, b = 0, c] = value.split(':').map(Number);
  if (c === undefined) return Math.max(a, b) < 65536 ? [a, b] : undefined;
  return Math.max(a, b, c) <= MAX_U32 ? [a, b, c] : undefined;
}

/**
 * `{ secretKeyRef: { name, key } }`. Both become parts of a path and must be names that Kubernetes allows.
 */
export function secret(fields: Fields, name: string): SecretRef | undefined {
  const outer = fields.object(name);
  if (!outer) return undefined;
  refuseOthers(outer, ['secretKeyRef']);
  const reference = required(outer, 'secretKeyRef', outer.object('secretKeyRef'));
  refuseOthers(reference, ['name', 'key'], {
    optional: { only: [false], why: 'a session needs its password' },
  });
  const part = (field: string, pattern: RegExp): string => {
    const value = required(reference, field, text(reference, field));
    if (pattern.test(value) && value.length <= 253) return value;
    throw reference.invalid(field, `'${value}' can't be ${field === 'key' ? 'a key of' : ''} a secret`);
  };
  return {
    name: part('name', /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/),
    key: part('key', /^[a-zA-Z0-9_-][a-zA-Z0-9._-]*$/),
  };
}

/** An interface name with the wildcards `*` and `?`, as BIRD accepts it. */
export function interfacePattern(value: string): string {
  if (/^[a-zA-Z0-9_.:*?-]{1,15}$/.test(value)) return value;
  throw new TypeError(`'${value}' is not an interface name; * matches any characters`);
}

export function selector(value: string): string {
  parseSelector(value);
  return value;
}

/** A network without host bits. */
export function network(value: string): Cidr {
  const cidr = parseCidr(value);
  if (parsePrefixed(value).toString() !== cidr) {
    throw new TypeError(`'${value}' has bits set after its length; write ${cidr}`);
  }
  return cidr;
}

/** A network, or a single address. */
export function networkOrAddress(value: string): Cidr {
  return isIp(value) ? hostCidr(parseIp(value)) : network(value);
}

/** `ip`, `ipv4:port` or `[ipv6]:port`, of an address that a router can have. */
export function peerAddress(value: string): { readonly ip: Ip; readonly port?: number } {
  const match = /^\[([^\]]*)\](?::([0-9]+))?$/.exec(value) ?? /^([0-9.]+):([0-9]+)$/.exec(value);
  const ip = parseIp(match?.[1] ?? value);
  const problem = bgpAddressProblem(ip);
  if (problem !== undefined) throw new TypeError(`'${ip}' ${problem}`);
  if (match?.[2] === undefined) return { ip };
  const port = Number(match[2]);
  if (port >= 1 && port <= 65535) return { ip, port };
  throw new TypeError(`'${match[2]}' is not a TCP port`);
}
