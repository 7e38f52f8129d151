import { FlatnetError } from '../../error.ts';
import { familyOf } from '../../ip/address.ts';
import { type Cidr, parseCidr } from '../../ip/cidr.ts';

/**
 * The last part of flannel's lease key: `10.5.34.0-24`, dual stack `10.5.34.0-24&fc00::1:0-64`. An IPv6 subnet alone, which
 * flannel cannot express, is written in the same manner: `fc00::1:0-64`.
 */
export function leaseName(subnets: readonly Cidr[]): string {
  return subnets
    .toSorted((a, b) => familyOf(a) - familyOf(b))
    .map((subnet) => subnet.replace('/', '-'))
    .join('&');
}

/** Reads such a name. Throws ADDRESS_INVALID. */
export function subnetsOf(name: string): Cidr[] {
  const subnets = name.includes('/') ? [] : name.split('&').map((half) => parseCidr(half.replace('-', '/')));
  if (['4', '6', '4,6'].includes(subnets.map(familyOf).join())) return subnets;
  throw new FlatnetError(`'${name}' is not one subnet, or one of each family`, { code: 'ADDRESS_INVALID' });
}
