import { Fields } from '../../cluster/fields.ts';
import { familyOf } from '../../ip/address.ts';
import { atLeast, type Version } from './version.ts';

/** A CNI result of any version. Absent lists are empty. */
export type Result = {
  readonly interfaces: readonly Interface[];
  readonly ips: readonly IpConfig[];
  readonly routes: readonly RouteConfig[];
  readonly dns: Dns;
};

export type Interface = {
  readonly name: string;
  readonly mac?: string;
  /** Bytes. */
  readonly mtu?: number;
  /** Path of the network namespace; absent for the node's own interfaces. */
  readonly sandbox?: string;
  readonly socketPath?: string;
  readonly pciID?: string;
};

export type IpConfig = {
  /** With prefix length: `10.244.1.7/24`. */
  readonly address: string;
  readonly gateway?: string;
  /** Index into `interfaces`. */
  readonly interface?: number;
};

export type RouteConfig = {
  readonly dst: string;
  readonly gw?: string;
  readonly mtu?: number;
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  readonly scope?: number;
};

export type Dns = {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
};

export const EMPTY_RESULT: Result = { interfaces: [], ips: [], routes: [], dns: {} };

/**
 * Decodes a result (parsed JSON) of any version, recognised by its shape. Throws CONFIG_INVALID naming the
 * field.
 */
export function decodeResult(value: unknown, path = 'prevResult'): Result {
  const fields = new Fields(value, path);
  const dns = decodeDns(fields.object('dns'));
  if (fields.has('ip4') || fields.has('ip6')) {
    const families = [fields.object('ip4'), fields.object('ip6')].filter((family) => family !== undefined);
    return {
      interfaces: [],
      ips: families.map((family) => ({
        address: required(family, 'ip'),
        ...optional('gateway', family.string('gateway')),
      })),
      routes: families.flatMap((family) => decodeRoutes(family)),
      dns,
    };
  }
  return {
    interfaces: items(fields, 'interfaces').map(decodeInterface),
    ips: items(fields, 'ips').map(decodeIp),
    routes: decodeRoutes(fields),
    dns,
  };
}

/** Encodes a result for a version. 0.1.0 and 0.2.0 can only hold one address per family and lose the rest. */
export function encodeResult(result: Result, version: Version): Record<string, unknown> {
  if (!atLeast(version, '0.3.0')) return encodeLegacy(result, version);
  const withVersion = !atLeast(version, '1.0.0');
  const extended = atLeast(version, '1.1.0');
  return {
    cniVersion: version,
    ...nonEmpty(
      'interfaces',
      result.interfaces.map((link) => (extended ? link : pick(link, ['name', 'mac', 'sandbox']))),
    ),
    ...nonEmpty(
      'ips',
      result.ips.map((ip) => (withVersion ? { version: String(familyOf(ip.address)), ...ip } : ip)),
    ),
    ...nonEmpty(
      'routes',
      result.routes.map((route) => (extended ? route : pick(route, ['dst', 'gw']))),
    ),
    // Consumers of these versions expect the key even if it is empty.
    ...(withVersion || Object.keys(result.dns).length > 0 ? { dns: result.dns } : {}),
  };
}

function encodeLegacy(result: Result, version: Version): Record<string, unknown> {
  const family = (number: 4 | 6): Record<string, unknown> => {
    const ip = result.ips.find((entry) => familyOf(entry.address) === number);
    if (!ip) return {};
    const routes = result.routes.filter((route) => familyOf(route.dst) === number);
    return {
      [`ip${number}`]: {
        ip: ip.address,
        ...optional('gateway', ip.gateway),
        ...nonEmpty(
          'routes',
          routes.map((route) => pick(route, ['dst', 'gw'])),
        ),
      },
    };
  };
  return { cniVersion: version, ...family(4), ...family(6), dns: result.dns };
}

function decodeInterface(fields: Fields): Interface {
  return {
    name: fields.string('name') ?? '',
    ...optional('mac', fields.string('mac')),
    ...optional('mtu', fields.integer('mtu', 0, 0xffffffff)),
    ...optional('sandbox', fields.string('sandbox')),
    ...optional('socketPath', fields.string('socketPath')),
    ...optional('pciID', fields.string('pciID')),
  };
}

function decodeIp(fields: Fields): IpConfig {
  return {
    ...optional('interface', fields.integer('interface', 0, 0xffff)),
    address: required(fields, 'address'),
    ...optional('gateway', fields.string('gateway')),
  };
}

function decodeRoute(fields: Fields): RouteConfig {
  const number = (name: string) => fields.integer(name, 0, 0xffffffff);
  return {
    dst: required(fields, 'dst'),
    ...optional('gw', fields.string('gw')),
    ...optional('mtu', number('mtu')),
    ...optional('advmss', number('advmss')),
    ...optional('priority', number('priority')),
    ...optional('table', number('table')),
    ...optional('scope', number('scope')),
  };
}

/** Decodes the `routes` of a result or of an `ipam` configuration. */
export function decodeRoutes(fields: Fields | undefined): RouteConfig[] {
  return fields ? items(fields, 'routes').map(decodeRoute) : [];
}

export function decodeDns(fields: Fields | undefined): Dns {
  if (!fields) return {};
  const list = (name: string): string[] => (fields.list(name) ?? []).map(String);
  return {
    ...nonEmpty('nameservers', list('nameservers')),
    ...optional('domain', fields.string('domain')),
    ...nonEmpty('search', list('search')),
    ...nonEmpty('options', list('options')),
  };
}

function items(fields: Fields, name: string): Fields[] {
  const path = fields.path ? `${fields.path}.${name}` : name;
  return (fields.list(name) ?? []).map((entry, index) => new Fields(entry, `${path}[${index}]`));
}

function required(fields: Fields, name: string): string {
  const value = fields.string(name);
  if (!value) throw fields.invalid(name, 'is missing');
  return value;
}

/** Omits the key if there is no value, like Go's `omitempty`. */
function optional<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return (value === undefined || value === '' ? {} : { [key]: value }) as { [P in K]?: V };
}

function nonEmpty<K extends string, V>(key: K, values: readonly V[]): { [P in K]?: readonly V[] } {
  return (values.length ? { [key]: values } : {}) as { [P in K]?: readonly V[] };
}

function pick(value: object, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([key]) => keys.includes(key)));
}
