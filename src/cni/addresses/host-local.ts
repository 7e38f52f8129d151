import { readFileSync } from 'node:fs';
import { messageOf } from '../../error.ts';
import { familyOf, type Ip, ipToBigInt } from '../../ip/address.ts';
import { inRange, type Range, type RangeSet, rangeSetText } from '../../ipam/ranges.ts';
import { CniError, CODE } from '../protocol/error.ts';
import type { Dns } from '../protocol/result.ts';
import type { IpamConf } from './conf.ts';
import type { AddressSource } from './source.ts';

/** Addresses from this node's ranges, assigned as the reference `host-local` does. */
export function hostLocal(conf: IpamConf): AddressSource {
  return {
    heldBy: () => ({ dir: conf.dir }),
    async take(call, { pools }) {
      const dns = conf.resolvConf ? readResolvConf(conf.resolvConf) : {};
      const ips = pools.of(conf.dir, conf.sets).allocate(call, conf.requested);
      const families = new Set(ips.map(({ address }) => familyOf(address)));
      return { ips, borrowed: [], routes: conf.routes.filter(({ dst }) => families.has(familyOf(dst))), dns };
    },
    exhausted({ pools }) {
      const ips = pools.of(conf.dir, conf.sets).taken();
      const full = conf.sets.find((set) => isExhausted(set, ips));
      return full && rangeSetText(full);
    },
  };
}

function isExhausted(set: RangeSet, reserved: readonly Ip[]): boolean {
  const capacity = set.reduce((sum, range) => sum + sizeOfRange(range), 0n);
  const used = reserved.filter((ip) => set.some((range) => inRange(range, ip) && ip !== range.gateway));
  return BigInt(used.length) >= capacity;
}

function sizeOfRange(range: Range): bigint {
  const all = ipToBigInt(range.end) - ipToBigInt(range.start) + 1n;
  return inRange(range, range.gateway) ? all - 1n : all;
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
