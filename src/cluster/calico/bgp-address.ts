import { familyOf, type Ip } from '../../ip/address.ts';
import { contains, parseCidr } from '../../ip/cidr.ts';

/** Networks without an address that a BGP session over TCP could have at either end. */
const UNUSABLE: readonly (readonly [string, string])[] = [
  ['0.0.0.0/8', 'is no address'],
  ['127.0.0.0/8', 'is the host itself'],
  ['224.0.0.0/4', 'is a multicast address'],
  ['240.0.0.0/4', 'is a reserved address'],
  ['::/128', 'is no address'],
  ['::1/128', 'is the host itself'],
  ['::ffff:0:0/96', 'is IPv4 written as IPv6; write it as IPv4'],
  [
    'fe80::/10',
    'is link-local and needs an interface, which a BGP session here cannot name; use a global address',
  ],
  ['ff00::/8', 'is a multicast address'],
];
const NETWORKS = UNUSABLE.map(([cidr, why]) => ({ cidr: parseCidr(cidr), why }));

/** Returns why no BGP session can have this address at one of its ends; undefined when one can. */
export function bgpAddressProblem(ip: Ip): string | undefined {
  return NETWORKS.find(({ cidr }) => familyOf(cidr) === familyOf(ip) && contains(cidr, ip))?.why;
}
