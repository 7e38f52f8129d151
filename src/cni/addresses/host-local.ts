import { readFileSync } from 'node:fs';
import { messageOf } from '../../error.ts';
import { familyOf } from '../../ip/address.ts';
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
  };
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
