import type { FlatnetError } from '../error.ts';
import { BITS, type Family, type Ip, ipAdd, ipCompare, ofFamily, parseIp } from '../ip/address.ts';
import { addressOf, type Cidr, cidrOf, contains, lastIp, lengthOf, parseCidr } from '../ip/cidr.ts';
import type { Fields } from './fields.ts';
import type { AddressPlan } from './plan.ts';

/** The network that node subnets are cut from. */
export type Pool = {
  readonly cidr: Cidr;
  /** Length of a node's subnet. */
  readonly subnetLength: number;
  /** The first and last subnet to assign, by network address. */
  readonly subnetMin: Ip;
  readonly subnetMax: Ip;
};

/**
 * Per family: the prefix of its keys, the smallest useful network, the default subnet length, and the largest
 * block by prefix length (with `blocks`, SubnetLen is the size of a block).
 */
const RULES: Record<
  Family,
  { prefix: string; smallest: number; usual: Record<AddressPlan, number>; block: number; example: string }
> = {
  4: {
    prefix: '',
    smallest: 28,
    usual: { lease: 24, blocks: 26, dhcp: 24 },
    block: 20,
    example: '10.244.0.0/16',
  },
  6: {
    prefix: 'IPv6',
    smallest: 124,
    usual: { lease: 64, blocks: 122, dhcp: 64 },
    block: 116,
    example: 'fd00:10:244::/56',
  },
};

/**
 * Reads one family's Network, SubnetLen, SubnetMin and SubnetMax by flannel's rules, with its error texts: a
 * subnet has at least four addresses, a network at least four subnets, and the first of them is skipped
 * unless SubnetMin says otherwise. If not `enabled`, the fields must still parse, and the result is
 * undefined.
 */
export function readPool(
  fields: Fields,
  family: Family,
  enabled: boolean,
  plan: AddressPlan,
): Pool | undefined {
  const { prefix, example } = RULES[family];
  const name = (key: string): string => `${prefix}${key}`;
  const cidr = fields.parsed(name('Network'), (text) => ofFamily(family, parseCidr(text)));
  const min = fields.parsed(name('SubnetMin'), (text) => ofFamily(family, parseIp(text)));
  const max = fields.parsed(name('SubnetMax'), (text) => ofFamily(family, parseIp(text)));
  const length = fields.integer(name('SubnetLen'), 0, 255) || undefined;
  if (!enabled) return undefined;
  if (!cidr) {
    throw fields.invalid(
      name('Network'),
      `please define a correct ${name('Network')} parameter in the flannel config; ` +
        `write it like ${example}, or set EnableIPv${family} to false`,
    );
  }
  if (lengthOf(cidr) === 0) {
    throw fields.invalid(
      name('Network'),
      `${cidr} is the whole address space; write the pods' own network, like ${example}, or set EnableIPv${family} to false`,
    );
  }
  const subnetLength = chooseLength(fields, family, cidr, length, plan);
  const size = 1n << BigInt(BITS[family] - subnetLength);
  const subnetMin = min ?? ipAdd(addressOf(cidr), size);
  const subnetMax = max ?? ipAdd(lastIp(cidr), 1n - size);
  checkBound(fields, name('SubnetMin'), subnetMin, cidr, subnetLength);
  checkBound(fields, name('SubnetMax'), subnetMax, cidr, subnetLength);
  if (ipCompare(subnetMin, subnetMax) > 0) {
    throw fields.invalid(
      name('SubnetMax'),
      `${subnetMax} is below ${name('SubnetMin')} ${subnetMin}; swap them`,
    );
  }
  return { cidr, subnetLength, subnetMin, subnetMax };
}

function chooseLength(
  fields: Fields,
  family: Family,
  cidr: Cidr,
  length: number | undefined,
  plan: AddressPlan,
): number {
  const { prefix, smallest, usual, block } = RULES[family];
  const fail = (key: string, text: string): FlatnetError => fields.invalid(`${prefix}${key}`, text);
  const least = lengthOf(cidr) + 2;
  if (length === undefined) {
    if (lengthOf(cidr) > smallest) {
      throw fail(
        'Network',
        `${family === 4 ? 'network' : 'IPv6Network'} is too small. Minimum useful network prefix is /${smallest}`,
      );
    }
    return Math.max(usual[plan], least);
  }
  if (length > BITS[family] - 2) {
    throw fail(
      'SubnetLen',
      `SubnetLen must be less than /${BITS[family] - 1}; a subnet needs four addresses`,
    );
  }
  if (plan === 'blocks' && length < block) {
    throw fail('SubnetLen', `a block is a /${block} or smaller, not a /${length}; /${usual.blocks} is usual`);
  }
  if (length < least) {
    throw fail(
      'SubnetLen',
      `network must be able to accommodate at least four subnets; for ${cidr} write ${least} or more`,
    );
  }
  return length;
}

function checkBound(fields: Fields, name: string, bound: Ip, cidr: Cidr, subnetLength: number): void {
  if (!contains(cidr, bound)) {
    throw fields.invalid(
      name,
      `${name} is not in the range of the ${name.slice(0, -'SubnetMin'.length)}Network: ${bound}; write an address of ${cidr}`,
    );
  }
  const aligned = addressOf(cidrOf(bound, subnetLength));
  if (aligned !== bound) {
    throw fields.invalid(
      name,
      `${name} is not on a SubnetLen boundary: ${bound}; for /${subnetLength} write ${aligned}`,
    );
  }
}
