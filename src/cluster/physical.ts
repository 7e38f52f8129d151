import { FAMILIES, type Family, type Ip, ipToBigInt, isLinkLocal, ofFamily, parseIp } from '../ip/address.ts';
import { cidrOf, contains, sizeOf } from '../ip/cidr.ts';
import type { Fields } from './fields.ts';
import type { PerFamily } from './node.ts';
import type { AddressPlan } from './plan.ts';
import type { Pool } from './pool.ts';
import { isPhysical, PHYSICAL_WIRINGS, type PhysicalWiring, type WiringName } from './wiring.ts';

/** How pods share the physical network, by wiring; the first mode is the default. */
export const MODES = {
  macvlan: ['bridge', 'private', 'vepa', 'passthru'],
  ipvlan: ['l2', 'l3', 'l3s'],
} as const satisfies Record<PhysicalWiring, readonly string[]>;

/** The part of the network's configuration that is about the wirings macvlan and ipvlan. */
export type Physical = {
  readonly wiring: PhysicalWiring;
  readonly mode: (typeof MODES)[PhysicalWiring][number];
  /** The interface whose network pods share. Absent: the node's underlay. */
  readonly parent?: string;
  /** The physical network's own gateways. Absent: pods get no default route, or the one that DHCP names. */
  readonly gateways: PerFamily<Ip>;
};

const GATEWAY_KEYS: Record<Family, string> = { 4: 'gateway', 6: 'ipv6Gateway' };

/**
 * Reads the object named after the wiring, which may be missing. Throws CONFIG_INVALID naming the field;
 * undefined for other wirings.
 */
export function readPhysical(
  fields: Fields,
  { wiring, addresses }: { readonly wiring: WiringName; readonly addresses: AddressPlan },
  pools: PerFamily<Pool>,
): Physical | undefined {
  const other = PHYSICAL_WIRINGS.find((each) => fields.has(each) && each !== wiring);
  if (other !== undefined) throw fields.invalid(other, `must be absent where wiring is ${wiring}`);
  if (!isPhysical(wiring)) return undefined;
  const own = fields.object(wiring);
  const mode = readMode(own, wiring);
  const parent = own?.parsed('parent', readDeviceName);
  if (mode !== 'l2' && wiring === 'ipvlan' && addresses === 'dhcp') {
    throw own?.invalid('mode', 'must be l2 where addresses is dhcp: no broadcast reaches a server otherwise');
  }
  const gateways: { [F in Family]?: Ip } = {};
  for (const family of FAMILIES) {
    const key = GATEWAY_KEYS[family];
    const gateway = own?.parsed(key, (text) => ofFamily(family, parseIp(text)));
    const pool = pools[family];
    if (!own || gateway === undefined || pool === undefined) continue;
    if (isRouted(mode)) {
      throw own.invalid(key, `must be absent where mode is ${mode}: the node routes its pods’ packets`);
    }
    if (family === 4 || !isLinkLocal(gateway)) {
      if (!contains(pool.cidr, gateway)) {
        throw own.invalid(key, `${gateway} is outside the network ${pool.cidr}, so no pod can reach it`);
      }
      if (addresses === 'lease' && isGivenOut(pool, gateway)) {
        const prefix = family === 4 ? '' : 'IPv6';
        throw own.invalid(
          key,
          `${gateway} would be a pod’s address, too; set ${prefix}SubnetMin or ${prefix}SubnetMax so that it is outside of them`,
        );
      }
    }
    gateways[family] = gateway;
  }
  return { wiring, mode, ...(parent !== undefined && { parent }), gateways };
}

/** As in net-conf.json. */
export function physicalValue({ mode, parent, gateways }: Physical): Readonly<Record<string, unknown>> {
  return { parent, mode, [GATEWAY_KEYS[4]]: gateways[4], [GATEWAY_KEYS[6]]: gateways[6] };
}

/** Whether the node routes what its pods send, instead of passing it to the physical network as it is. */
export function isRouted(mode: Physical['mode']): boolean {
  return mode === 'l3' || mode === 'l3s';
}

function readMode(fields: Fields | undefined, wiring: PhysicalWiring): Physical['mode'] {
  const modes: readonly Physical['mode'][] = MODES[wiring];
  const text = fields?.string('mode')?.toLowerCase() ?? modes[0];
  const mode = modes.find((each) => each === text);
  if (mode !== undefined) return mode;
  throw (fields as Fields).invalid('mode', `must be ${modes.join(', ')}, not '${text}'`);
}

/** What the kernel takes for a name (dev_valid_name). */
function readDeviceName(text: string): string {
  if (/^[^\s/:]{1,15}$/.test(text) && text !== '.' && text !== '..') return text;
  throw new Error(`'${text}' is no name of an interface`);
}

/** Whether an address is in a subnet that a node may take. */
function isGivenOut({ subnetMin, subnetMax, subnetLength }: Pool, ip: Ip): boolean {
  const [first, last, at] = [subnetMin, subnetMax, ip].map(ipToBigInt) as [bigint, bigint, bigint];
  return at >= first && at < last + sizeOf(cidrOf(subnetMax, subnetLength));
}
