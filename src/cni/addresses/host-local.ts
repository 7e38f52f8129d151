import { readFileSync } from 'node:fs';
import { messageOf } from '../../error.ts';
import { familyOf, type Ip, ipToBigInt } from '../../ip/address.ts';
import { type Allocation, HostLocal, type Owner } from '../../ipam/host-local.ts';
import { inRange, type Range, type RangeSet } from '../../ipam/ranges.ts';
import type { IpamConf } from '../protocol/conf.ts';
import { CniError, CODE } from '../protocol/error.ts';
import { type Dns, EMPTY_RESULT, type Result, type RouteConfig } from '../protocol/result.ts';

/** The reservations of every network, each folder opened once: reading it anew for each call would be the cost of a call. */
export class Pools {
  readonly #open = new Map<string, HostLocal>();

  /** For giving addresses out of these ranges. */
  of(dir: string, sets: readonly RangeSet[]): HostLocal {
    return this.in(dir).withRanges(sets);
  }

  /** For taking addresses back, whatever range they are of. */
  in(dir: string): HostLocal {
    const pool = this.#open.get(dir) ?? HostLocal.open(dir, []);
    this.#open.set(dir, pool);
    return pool;
  }
}

/** Reserves an address of each range set and gives the result an IPAM plugin prints. */
export function allocate(pools: Pools, conf: IpamConf, owner: Owner): Result & { allocations: Allocation[] } {
  const dns = conf.resolvConf ? readResolvConf(conf.resolvConf) : {};
  const allocations = pools.of(conf.dir, conf.sets).allocate(owner, conf.requested);
  return {
    ...EMPTY_RESULT,
    ips: allocations.map(({ address, gateway }) => ({ address, gateway })),
    routes: conf.routes.filter((route) =>
      allocations.some((a) => familyOf(a.address) === familyOf(route.dst)),
    ),
    dns,
    allocations,
  };
}

/** The default routes `isDefaultGateway` asks for, where the configuration has none of that family. */
export function defaultRoutes(
  allocations: readonly Allocation[],
  routes: readonly RouteConfig[],
): RouteConfig[] {
  const missing = allocations.filter(
    ({ gateway }) => !routes.some((route) => route.dst === anywhere(gateway)),
  );
  const first = missing.filter(
    (a, i) => missing.findIndex((b) => familyOf(a.gateway) === familyOf(b.gateway)) === i,
  );
  return first.map(({ gateway }) => ({ dst: anywhere(gateway), gw: gateway }));
}

/** Whether no address of the set is left. */
export function isExhausted(set: RangeSet, reserved: readonly Ip[]): boolean {
  const capacity = set.reduce((sum, range) => sum + sizeOfRange(range), 0n);
  const used = reserved.filter((ip) => set.some((range) => inRange(range, ip) && ip !== range.gateway));
  return BigInt(used.length) >= capacity;
}

function sizeOfRange(range: Range): bigint {
  const all = ipToBigInt(range.end) - ipToBigInt(range.start) + 1n;
  return inRange(range, range.gateway) ? all - 1n : all;
}

function anywhere(ip: Ip): string {
  return familyOf(ip) === 4 ? '0.0.0.0/0' : '::/0';
}

function readResolvConf(path: string): Dns {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new CniError(CODE.INVALID_CONFIG, `ipam.resolvConf: ${messageOf(error)}`, '', error);
  }
  const lines = text
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([word = '']) => word !== '' && !/^[#;]/.test(word));
  const all = (keyword: string): string[] =>
    lines.flatMap(([word, ...rest]) => (word === keyword ? rest : []));
  const dns = { nameservers: all('nameserver'), search: all('search'), options: all('options') };
  const domain = all('domain').at(-1);
  const given = Object.entries(dns).filter(([, values]) => values.length > 0);
  return { ...Object.fromEntries(given), ...(domain ? { domain } : {}) };
}
