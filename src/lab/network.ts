import { backendOf } from '../backends/registry.ts';
import { Fields } from '../cluster/fields.ts';
import { type Network, refuseOverlap } from '../cluster/network.ts';
import type { Physical } from '../cluster/physical.ts';
import { isPhysical, type WiringName } from '../cluster/wiring.ts';
import { FlatnetError } from '../error.ts';
import { FAMILIES, ipCompare, ipToBigInt } from '../ip/address.ts';
import { cidrOf, nthIp, parseCidr, sizeOf } from '../ip/cidr.ts';
import { gateway, SHARE_LENGTH, SHARED, UNDERLAY } from './machine/underlay-plan.ts';

type Preset = {
  /** The keys that define the preset: a file may repeat them but not contradict them. */
  readonly fixed: Readonly<Record<string, string>>;
  readonly backend: Readonly<Record<string, string>>;
};

const ROUTED = { addresses: 'blocks', wiring: 'routed' } as const;

/** The flannel and Calico modes with their usual defaults. */
const PRESETS = {
  /** One subnet per node, pods on a bridge. Any backend; VXLAN by default. */
  flannel: { fixed: { addresses: 'lease', wiring: 'bridge' }, backend: {} },
  /** Blocks, routed pods, BGP, and IPIP between all nodes. */
  calico: { fixed: ROUTED, backend: { Type: 'bgp', ipipMode: 'Always' } },
  /** The same without encapsulation. */
  'calico-bgp': { fixed: ROUTED, backend: { Type: 'bgp', ipipMode: 'Never' } },
} as const satisfies Record<string, Preset>;

export type PresetName = keyof typeof PRESETS;
export const PRESET_NAMES = Object.keys(PRESETS) as readonly PresetName[];

/**
 * Completes a network configuration with the preset. Throws CONFIG_INVALID for a field that contradicts it:
 * the lab would not be what the preset's name promises.
 */
export function withPreset(name: PresetName, source: Readonly<Record<string, unknown>>): unknown {
  const { fixed, backend }: Preset = PRESETS[name];
  const fields = new Fields(source);
  const own = fields.object('Backend') ?? new Fields({}, 'Backend');
  return {
    ...withoutBackend(source),
    ...missing(name, fields, fixed),
    Backend: { ...own.source, ...missing(name, own, backend) },
  };
}

/**
 * Returns the configuration with another backend; if the type is the same, its options stay. Throws
 * CONFIG_INVALID.
 */
export function withBackend(
  type: string,
  source: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  backendOf(type.toLowerCase());
  const own = new Fields(source).object('Backend');
  const same = (own?.string('Type') || 'vxlan').toLowerCase() === type.toLowerCase();
  return { ...withoutBackend(source), Backend: { ...(same && own?.source), Type: type } };
}

/** Removes every spelling of the key: keys are case-insensitive. */
function withoutBackend(source: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(source).filter(([key]) => key.toLowerCase() !== 'backend'));
}

/** Returns the entries of `wanted` that are not set yet; throws for one that is set to another value. */
function missing(
  preset: PresetName,
  fields: Fields,
  wanted: Readonly<Record<string, string>>,
): Record<string, string> {
  const added: Record<string, string> = {};
  for (const [key, value] of Object.entries(wanted)) {
    const written = fields.string(key);
    if (written === undefined) added[key] = value;
    else if (written.toLowerCase() !== value.toLowerCase()) {
      throw new FlatnetError(`is ${written}, but preset ${preset} means ${value}`, {
        code: 'CONFIG_INVALID',
        object: fields.path ? `${fields.path}.${key}` : key,
        fix: 'drop it, or drop --preset',
      });
    }
  }
  return added;
}

/**
 * Returns the configuration with a wiring. Pods on the physical network are given the lab's, where the
 * configuration names none. Throws CONFIG_INVALID for another wiring in it.
 */
export function withWiring(
  wiring: WiringName,
  source: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const fields = new Fields(source);
  const written = fields.string('wiring');
  if (written !== undefined && written.toLowerCase() !== wiring) {
    throw new FlatnetError(`is ${written}, but --wiring ${wiring} asks for another`, {
      code: 'CONFIG_INVALID',
      object: 'wiring',
      fix: 'drop --wiring',
    });
  }
  if (!isPhysical(wiring)) return { ...source, wiring };
  const usual = {
    Network: SHARED[4],
    SubnetLen: SHARE_LENGTH[4],
    IPv6Network: SHARED[6],
    IPv6SubnetLen: SHARE_LENGTH[6],
    [wiring]: { gateway: gateway(0, 4), ipv6Gateway: gateway(0, 6) },
  };
  const missing = Object.entries(usual).filter(([key]) => !fields.has(key));
  return { ...source, ...Object.fromEntries(missing), wiring };
}

/** Returns the configuration with policies enforced. Throws CONFIG_INVALID where it says otherwise. */
export function withPolicies(source: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const fields = new Fields(source);
  if (fields.raw('policy') === false) {
    throw new FlatnetError('is false, but --policy asks for the contrary', {
      code: 'CONFIG_INVALID',
      object: 'policy',
      fix: 'drop one of them',
    });
  }
  return fields.has('policy') ? source : { ...source, policy: true };
}

/** Throws CONFIG_INVALID unless the pods of this network can live on the lab's underlay. */
function checkPhysical({ addresses, pools, wiring }: Network, { parent }: Physical): void {
  const invalid = (text: string, object: string, fix: string) =>
    new FlatnetError(text, { code: 'CONFIG_INVALID', object, fix });
  if (addresses === 'dhcp') {
    throw invalid('the lab has no DHCP server', 'addresses', `write addresses: lease, or drop it`);
  }
  if (parent !== undefined && parent !== 'eth0') {
    throw invalid(`the nodes of a lab have no ${parent}`, `${wiring}.parent`, 'write eth0, or drop it');
  }
  for (const family of FAMILIES) {
    const pool = pools[family];
    if (!pool) continue;
    const prefix = family === 4 ? '' : 'IPv6';
    const network = SHARED[family];
    if (pool.cidr !== network) {
      const text = `${pool.cidr} is not the lab’s physical network, which its nodes are in`;
      throw invalid(text, `${prefix}Network`, `write ${network}, or use --wiring ${wiring} alone`);
    }
    const first = nthIp(network, sizeOf(cidrOf(pool.subnetMin, SHARE_LENGTH[family])));
    if (ipCompare(pool.subnetMin, first) >= 0) continue;
    const text = `${pool.subnetMin} is among the addresses of nodes and routers`;
    throw invalid(text, `${prefix}SubnetMin`, `write ${first} or more`);
  }
}

/** RFC 6890: this host, loopback, link-local. RFC 5771 and RFC 4291: multicast. */
const SPECIAL = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/4',
  '::/127',
  'fe80::/10',
  'ff00::/8',
].map(parseCidr);

/**
 * Throws CONFIG_INVALID unless the network has a usable subnet for each of `nodes` nodes. With blocks this is
 * not required: a node without a block borrows addresses.
 */
export function checkNetwork(network: Network, nodes: number): void {
  if (network.physical) checkPhysical(network, network.physical);
  refuseOverlap(network, 'the underlay of the lab', UNDERLAY);
  refuseOverlap(network, 'reserved: no pod can have an address in it', SPECIAL);
  if (network.addresses !== 'lease') return;
  for (const family of FAMILIES) {
    const pool = network.pools[family];
    if (!pool) continue;
    const { cidr, subnetLength, subnetMin, subnetMax } = pool;
    const size = sizeOf(cidrOf(subnetMin, subnetLength));
    const subnets = (ipToBigInt(subnetMax) - ipToBigInt(subnetMin)) / size + 1n;
    if (subnets >= nodes) continue;
    throw new FlatnetError(`${cidr} has ${subnets} subnets of /${subnetLength} for ${nodes} nodes`, {
      code: 'CONFIG_INVALID',
      object: family === 4 ? 'Network' : 'IPv6Network',
      fix: 'choose a larger network or fewer nodes, or raise SubnetLen',
    });
  }
}
